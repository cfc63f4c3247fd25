// What the engine and the runtime tell the checker build. In other builds all of it is nothing.
//
// The checker build compiles kernels with -fsanitize=thread and links them to its own versions of the functions that
// this inserts at every access to memory: see checker/.
#pragma once

#include <cstddef>
#include <cstdint>

namespace accrue::emulator {

namespace detail {
struct Call;
}

namespace checker {

#ifdef ACCRUE_EMULATOR_CHECKER

inline constexpr bool kEnabled = true;

void launch_begins(const detail::Call& call, std::uint64_t launch);
void launch_ends();
void block_begins(std::uint64_t index);
void block_ends();
void engine_stops();  // with an error: what runs from here on is not the kernel

void barrier_completes();
void warp_synchronises(unsigned warp);
void fence();  // by the running thread

void allocated(const void* memory, std::size_t bytes);        // device memory, whose content is undefined
void mapped(const void* memory, std::size_t bytes);           // host memory that kernels may use
void freed(const void* memory);                               // either
void written_by_host(const void* memory, std::size_t bytes);  // or by a copy
void dynamic_shared_is(const void* memory, std::size_t bytes);

// Accesses of the running thread that the compiler does not see.
void atomic(const void* memory, std::size_t bytes);
void read(const void* memory, std::size_t bytes);
void written(const void* memory, std::size_t bytes);
void made_undefined(const void* memory, std::size_t bytes);

#else

inline constexpr bool kEnabled = false;

inline void launch_begins(const detail::Call&, std::uint64_t) {}
inline void launch_ends() {}
inline void block_begins(std::uint64_t) {}
inline void block_ends() {}
inline void engine_stops() {}
inline void barrier_completes() {}
inline void warp_synchronises(unsigned) {}
inline void fence() {}
inline void allocated(const void*, std::size_t) {}
inline void mapped(const void*, std::size_t) {}
inline void freed(const void*) {}
inline void written_by_host(const void*, std::size_t) {}
inline void dynamic_shared_is(const void*, std::size_t) {}
inline void atomic(const void*, std::size_t) {}
inline void read(const void*, std::size_t) {}
inline void written(const void*, std::size_t) {}
inline void made_undefined(const void*, std::size_t) {}

#endif

}  // namespace checker
}  // namespace accrue::emulator

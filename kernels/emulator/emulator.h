// The emulated CUDA device, as seen by the code that launches kernels and by the wrappers that kernels are written
// with.
//
// The same .cu files run on a GPU when nvcc compiles them, and here when the host's compiler does: every CUDA thread is
// a fiber, one block runs at a time, and all of it on the thread that waits for the stream. docs/emulator.md says what
// is modelled, what is not, and which faults each mode finds.
#pragma once

#include <driver_types.h>
#include <vector_types.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/emulator/location.h"
#include "kernels/emulator/options.h"

namespace accrue::emulator {

// For host code ------------------------------------------------------------------------------------------------------

// Puts a kernel into the stream, as a launch does on the device: what the device would refuse at the launch is refused
// here with the same error code, which cudaGetLastError() then also gives. `name` appears in messages.
template <class... P, class... A>
cudaError_t launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
                   cudaStream_t stream, A&&... arguments);

// Work of a library that the emulator stands in for (a matrix product, say): runs in the order of the stream, is
// recorded by a capture, and must therefore be free to run more than once.
void enqueue(cudaStream_t stream, std::function<void()> work);

// Tells the checker build that the host has written these bytes of device memory.
void written_by_host(const void* device_memory, std::size_t bytes);

// Calls so far that made the host wait for the device, and kernels that have been launched (once more for each replay).
std::uint64_t synchronisation_count();
std::uint64_t launch_count();

// For device code ----------------------------------------------------------------------------------------------------

inline void* dynamic_shared();      // this block's dynamic shared memory
inline unsigned lane();             // 0 … 31
inline unsigned thread_in_block();  // counts along x, then y, then z

// What the lanes of a warp have brought to a collective. Valid until the calling lane's next collective or barrier.
template <class T>
class WarpValues {
 public:
  WarpValues(const void* rows, unsigned lanes) : rows_(rows), lanes_(lanes) {}
  // Lanes that took no part give 0xFF in every byte, which is NaN in every floating-point format.
  T operator[](unsigned lane) const;
  unsigned lanes() const { return lanes_; }  // those that took part, as a mask

 private:
  const void* rows_;
  unsigned lanes_;
};

// A collective of the lanes in `mask`: returns when each of them that has not left the kernel has come to it.
// `operation` is the name for messages; lanes that meet with different operations or at different places are at fault.
template <class T>
WarpValues<T> exchange(unsigned mask, const T& value, const char* operation, Location where);

// Ends the process with a message about the running thread; docs/emulator.md lists the exit codes.
[[noreturn]] void fail(const char* what, Location where);

// cp.async: the bytes arrive when the calling thread waits for their group, and are 0xFF until then.
void copy_async(void* shared, const void* global, std::size_t bytes, Location where);
void copy_async_commit();
void copy_async_wait(int groups_left);

// The rest is implementation -----------------------------------------------------------------------------------------

namespace detail {

// What differs between the threads of a grid. The engine writes it whenever it lets another thread run.
struct Running {
  uint3 thread_index{}, block_index{};
  dim3 block_dim{}, grid_dim{};
  unsigned lane = 0, thread = 0;
  void* dynamic_shared = nullptr;
};
extern Running running;

constexpr std::size_t kExchangeBytes = 64;  // the most that a lane brings to a collective

struct ExchangeResult {
  const void* rows;  // kExchangeBytes for each lane
  unsigned lanes;
};
ExchangeResult exchange(unsigned mask, const void* value, std::size_t bytes, const char* operation, Location where);

// A kernel with its arguments, for as many runs as the stream or a graph asks for.
struct Call {
  const char* name;
  const void* kernel;
  dim3 grid, block;
  std::size_t dynamic_shared_bytes;
  std::shared_ptr<const void> arguments;
  std::size_t arguments_bytes;
  void (*run)(const void* arguments);  // one thread of the kernel
};
cudaError_t launch(const Call& call, cudaStream_t stream);

}  // namespace detail

inline void* dynamic_shared() { return detail::running.dynamic_shared; }
inline unsigned lane() { return detail::running.lane; }
inline unsigned thread_in_block() { return detail::running.thread; }

template <class T>
T WarpValues<T>::operator[](unsigned lane) const {
  std::array<std::byte, sizeof(T)> bytes;
  std::memcpy(bytes.data(), static_cast<const std::byte*>(rows_) + lane * detail::kExchangeBytes, sizeof(T));
  return std::bit_cast<T>(bytes);
}

template <class T>
WarpValues<T> exchange(unsigned mask, const T& value, const char* operation, Location where) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= detail::kExchangeBytes);
  const detail::ExchangeResult result = detail::exchange(mask, &value, sizeof(T), operation, where);
  return {result.rows, result.lanes};
}

template <class... P, class... A>
cudaError_t launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t dynamic_shared_bytes,
                   cudaStream_t stream, A&&... arguments) {
  static_assert(sizeof...(P) == sizeof...(A), "a launch gives each parameter of the kernel an argument");
  struct Arguments {
    void (*kernel)(P...);
    std::tuple<std::remove_cv_t<P>...> values;
  };
  auto copy = std::make_shared<const Arguments>(
      Arguments{kernel, std::tuple<std::remove_cv_t<P>...>(std::forward<A>(arguments)...)});
  const detail::Call call = {.name = name,
                             .kernel = reinterpret_cast<const void*>(kernel),
                             .grid = grid,
                             .block = block,
                             .dynamic_shared_bytes = dynamic_shared_bytes,
                             .arguments = copy,
                             .arguments_bytes = sizeof(Arguments),
                             .run = [](const void* packed) {
                               const auto& own = *static_cast<const Arguments*>(packed);
                               std::apply(own.kernel, own.values);
                             }};
  return detail::launch(call, stream);
}

}  // namespace accrue::emulator

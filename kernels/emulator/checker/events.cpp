// What the engine and the runtime tell the checker.
#include "kernels/emulator/block.h"
#include "kernels/emulator/checker.h"
#include "kernels/emulator/checker/checker.h"

namespace accrue::emulator::checker {

void launch_begins(const detail::Call& call, std::uint64_t) {
  instance().launch_begins(call.arguments.get(), call.arguments_bytes);
}
void launch_ends() { instance().set_active(false); }
void block_begins(std::uint64_t index) {
  instance().block_begins(index);
  instance().set_active(true);
}
void block_ends() { instance().set_active(false); }
void engine_stops() { instance().set_active(false); }

void barrier_completes() { instance().order.barrier_completes(); }
void warp_synchronises(unsigned warp) { instance().order.warp_synchronises(warp); }
void fence() { instance().order.fence(); }

void allocated(const void* memory, std::size_t bytes) { instance().memory.add("device memory", memory, bytes); }
void mapped(const void* memory, std::size_t bytes) {
  instance().memory.add("pinned host memory", memory, bytes);
  instance().set_defined(memory, bytes, true);  // the host may write it at any time
}
void freed(const void* memory) { instance().memory.remove(memory); }
void written_by_host(const void* memory, std::size_t bytes) { instance().set_defined(memory, bytes, true); }
void dynamic_shared_is(const void* memory, std::size_t bytes) { instance().memory.set_dynamic_shared(memory, bytes); }

// The caller of the function that calls these is a wrapper or the kernel: either way the nearest that is known.
void atomic(const void* memory, std::size_t bytes) {
  instance().access(memory, bytes, Kind::atomic, __builtin_return_address(0));
}
void read(const void* memory, std::size_t bytes) {
  instance().access(memory, bytes, Kind::read, __builtin_return_address(0));
}
void written(const void* memory, std::size_t bytes) {
  instance().access(memory, bytes, Kind::write, __builtin_return_address(0));
}
void made_undefined(const void* memory, std::size_t bytes) { instance().set_defined(memory, bytes, false); }

}  // namespace accrue::emulator::checker

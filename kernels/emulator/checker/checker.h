// The checker: memory checks of what the running thread does, from the compiler's instrumentation of kernels
// (instrumentation.cpp) and from what the engine tells it (events.cpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/emulator/checker/shadow.h"
#include "kernels/emulator/traffic.h"

namespace accrue::emulator::checker {

enum class Kind { read, write, atomic };

class Checker {
 public:
  // Whether the memory may be accessed, holds values where they are read, and is not being used by another thread.
  void access(const void* memory, std::size_t bytes, Kind kind, const void* return_address);

  void launch_begins(const void* arguments, std::size_t bytes);
  void block_begins(std::uint64_t index);
  void set_active(bool active) { active_ = active; }
  bool active() const { return active_; }
  void set_defined(const void* memory, std::size_t bytes, bool defined);

  Memory memory;
  AccessOrder order;
  Traffic traffic;

 private:
  struct Touch {  // of one access, for messages
    std::uintptr_t address;
    std::size_t bytes;
    Kind kind;
    const void* return_address;
  };

  void count(const Region& region, const Touch& touch);
  bool is_outside_of_device_memory(std::uintptr_t address) const;
  void touch(Region& region, const Touch& touch);
  void touch_cell(Region& region, Cell& cell, std::uint8_t mask, const Touch& touch);
  void report_race(const Region& region, const Access& other, Kind other_kind, const Touch& touch);
  void report_undefined(const Region& region, const Touch& touch);
  void report_out_of_bounds(const Touch& touch);

  bool active_ = false;
  std::uint32_t block_run_ = 0;
  std::uintptr_t arguments_ = 0;
  std::size_t arguments_bytes_ = 0;
};

Checker& instance();

// While one lives, no access counts as the kernel's. The emulator's own code shares the inline functions of the
// standard library with the kernels' files, and the linker may have kept the instrumented one.
class Pause {
 public:
  Pause() : was_active_(instance().active()) { instance().set_active(false); }
  ~Pause() { instance().set_active(was_active_); }
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  bool was_active_;
};

}  // namespace accrue::emulator::checker

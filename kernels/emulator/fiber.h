// A flow of control with a stack of its own, which runs until it gives way to another.
#pragma once

#include <cstddef>

#include "kernels/emulator/context.h"

namespace accrue::emulator {

class Fiber {
 public:
  // With a stack of its own and a guard page below it. `body` must never return.
  explicit Fiber(void (*body)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  static Fiber& current() { return *current_; }
  // The caller stops here until somebody resumes its fiber.
  void resume();
  bool contains(const void* address) const;       // on this fiber's stack
  bool overflowed_at(const void* address) const;  // on the guard page below it

 private:
  Fiber() = default;  // whoever runs without having been made: the program's own stack
  static void begin();
  static void arrive();

  static Fiber host_;
  static Fiber* current_;
  static Fiber* left_;  // the fiber that was switched away from last

  void (*body_)() = nullptr;
  void* mapping_ = nullptr;
  const void* stack_ = nullptr;
  std::size_t stack_bytes_ = 0;
  [[maybe_unused]] void* fake_stack_ = nullptr;  // AddressSanitizer's, while the fiber is suspended
  Context context_;
};

}  // namespace accrue::emulator

// A place in the source, taken by default arguments at the call: std::source_location, which clang 14 does not have.
#pragma once

namespace accrue::emulator {

struct Location {
  const char* file = "?";
  unsigned line = 0;

  static constexpr Location current(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
};

}  // namespace accrue::emulator

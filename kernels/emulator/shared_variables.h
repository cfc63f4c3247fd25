// The __shared__ variables of the program, found by a mark in their symbols' names (intrinsics/qualifiers.h).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace accrue::emulator {

struct SharedVariable {
  std::string name;  // "reverse_row(float const*, float*)::row"
  void* begin;
  std::size_t bytes;
};

// Of the main program, in the order of their addresses. Empty if its symbols have been stripped.
const std::vector<SharedVariable>& shared_variables();

}  // namespace accrue::emulator

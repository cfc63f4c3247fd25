// The kernels are compiled for several instruction sets, of which a run uses the best alone, or the one that the
// environment names: ACCRUE_TEST_TARGET=SSE4.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "hwy/targets.h"

namespace accrue::testing {

// Those of kernels/cpu/simd.h.
inline constexpr std::int64_t compiled_instruction_sets = HWY_SSE4 | HWY_AVX2 | HWY_AVX3;

// Limits the kernels to these; 0 stands for everything that is here.
inline void use_instruction_sets(std::int64_t targets) {
  hwy::SetSupportedTargetsForTest(targets);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// f(target) for each of a set.
template <class Function>
void for_each_target(std::int64_t targets, Function&& f) {
  for (std::int64_t rest = targets; rest != 0; rest &= rest - 1) f(rest & -rest);
}

// 0 where the environment names none, nothing where it names one that does not exist.
inline std::optional<std::int64_t> instruction_set_of_environment() {
  const char* const name = std::getenv("ACCRUE_TEST_TARGET");
  if (name == nullptr) return 0;
  std::optional<std::int64_t> found;
  for_each_target(compiled_instruction_sets, [&](std::int64_t target) {
    if (hwy::TargetName(target) == std::string(name)) found = target;
  });
  return found;
}

// Runs `check` once for every instruction set that this machine has, the kernels using that one.
template <class Function>
void for_each_instruction_set(Function&& check) {
  use_instruction_sets(0);
  for_each_target(hwy::SupportedTargets() & compiled_instruction_sets, [&](std::int64_t target) {
    SCOPED_TRACE(std::string("instruction set ") + hwy::TargetName(target));
    use_instruction_sets(target);
    check();
  });
  use_instruction_sets(instruction_set_of_environment().value());
}

}  // namespace accrue::testing

// The kernels are compiled for several instruction sets, of which a run uses the best alone.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "hwy/targets.h"

namespace accrue::testing {

// Runs `check` once for every instruction set that this machine has, the kernels using that one.
template <class Function>
void for_each_instruction_set(Function&& check) {
  const auto use = [](std::int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  };
  use(0);  // everything that is here
  const std::int64_t all = hwy::SupportedTargets() & (HWY_SSE4 | HWY_AVX2 | HWY_AVX3);
  for (std::int64_t rest = all; rest != 0; rest &= rest - 1) {
    const std::int64_t one = rest & -rest;
    SCOPED_TRACE(std::string("instruction set ") + hwy::TargetName(one));
    use(one);
    check();
  }
  use(0);
}

}  // namespace accrue::testing

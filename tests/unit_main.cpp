// The unit tests' main: ACCRUE_TEST_TARGET chooses the kernels' instruction set.
#include <gtest/gtest.h>

#include <cstdio>

#include "kernels/attention_kernel.h"
#include "tests/testing/instruction_sets.h"

int main(int argc, char** argv) {
  using namespace accrue::testing;
  ::testing::InitGoogleTest(&argc, argv);
  const std::optional<std::int64_t> target = instruction_set_of_environment();
  if (!target) {
    std::fprintf(stderr, "ACCRUE_TEST_TARGET must be one of:");
    for_each_target(compiled_instruction_sets, [](std::int64_t t) { std::fprintf(stderr, " %s", hwy::TargetName(t)); });
    std::fprintf(stderr, ", but is %s\n", std::getenv("ACCRUE_TEST_TARGET"));
    return 2;
  }
  if (*target != 0) {
    if ((hwy::SupportedTargets() & *target) == 0) {
      std::printf("skipped: this machine does not have %s\n", hwy::TargetName(*target));
      return 77;  // what ctest takes for a skipped test, tests/CMakeLists.txt
    }
    use_instruction_sets(*target);
    std::printf("The kernels use %s.\n", hwy::TargetName(*target));
  }
  // What is tested is Accrue's own; cudnn_attention_test.cpp compares cuDNN's with it.
  accrue::kernels::set_attention_kernel(accrue::kernels::AttentionKernel::native);
  return RUN_ALL_TESTS();
}

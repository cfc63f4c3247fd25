// A fixture for what runs on a CUDA device alone, a real one or the emulated: skipped, visibly, where there is none.
#pragma once

#include <gtest/gtest.h>

#include "core/cuda_devices.h"

namespace accrue::testing {

class NeedsCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!cuda::usable(0)) GTEST_SKIP() << cuda::why_unavailable();
  }
};

}  // namespace accrue::testing

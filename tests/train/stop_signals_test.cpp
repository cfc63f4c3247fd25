#include "train/stop_signals.h"

#include <gtest/gtest.h>

namespace accrue::train {
namespace {

TEST(StopSignals, OneOfEitherKindIsARequest) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const StopSignals signals;
    EXPECT_FALSE(signals.requested());
    std::raise(signal);
    EXPECT_TRUE(signals.requested());
  }
}

TEST(StopSignals, ASecondInterruptEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const StopSignals signals;
        std::raise(SIGINT);
        std::raise(SIGINT);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST(StopSignals, AnIgnoredSignalStaysIgnored) {
  std::signal(SIGINT, SIG_IGN);
  {
    const StopSignals signals;
    std::raise(SIGINT);
    EXPECT_FALSE(signals.requested());
  }
  std::signal(SIGINT, SIG_DFL);
}

TEST(StopSignals, TheActionsBeforeComeBack) {
  { const StopSignals signals; }
  struct sigaction action = {};
  for (const int signal : {SIGINT, SIGTERM}) {
    sigaction(signal, nullptr, &action);
    EXPECT_EQ(action.sa_handler, SIG_DFL);
  }
}

}  // namespace
}  // namespace accrue::train

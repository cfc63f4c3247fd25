#include "train/stop_signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <thread>
#include <vector>

#include "core/check.h"
#include "tests/train/stream_ends.h"

namespace accrue::train {
namespace {

constexpr int replaced_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};

TEST(StopSignals, OneOfEitherKindIsARequest) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const StopSignals signals;
    EXPECT_FALSE(signals.requested());
    EXPECT_EQ(signals.signal_name(), "");
    std::raise(signal);
    EXPECT_TRUE(signals.requested());
    EXPECT_EQ(signals.signal_name(), signal == SIGINT ? "SIGINT" : "SIGTERM");
  }
}

TEST(StopSignals, TimeRunsFromTheFirstRequest) {
  const StopSignals signals;
  EXPECT_EQ(signals.seconds_since_request(), 0);
  std::raise(SIGTERM);
  double before = signals.seconds_since_request();
  EXPECT_GE(before, 0);
  for (int i = 0; i < 1000; ++i) {
    std::raise(i % 2 == 0 ? SIGTERM : SIGHUP);  // none of them starts it again
    const double now = signals.seconds_since_request();
    ASSERT_GE(now, before);
    before = now;
  }
  EXPECT_GT(before, 0);
}

// As after Ctrl-S: the handler must not wait for it.
TEST(StopSignals, ATerminalThatTakesNothingDoesNotHoldUpTheRequest) {
  const testing::Ends terminal = testing::terminal_ends();
  ASSERT_EQ(fcntl(terminal.writer.get(), F_SETFL, O_NONBLOCK), 0);
  while (write(terminal.writer.get(), "full", 4) > 0) continue;
  ASSERT_EQ(errno, EAGAIN);
  ASSERT_EQ(fcntl(terminal.writer.get(), F_SETFL, 0), 0);
  const FileDescriptor standard_error(dup(STDERR_FILENO));
  ASSERT_GE(dup2(terminal.writer.get(), STDERR_FILENO), 0);
  {
    const StopSignals signals;
    std::raise(SIGTERM);
    EXPECT_TRUE(signals.requested());
  }
  ASSERT_GE(dup2(standard_error.get(), STDERR_FILENO), 0);
}

TEST(StopSignals, ANewOneBeginsWithoutARequest) {
  {
    const StopSignals signals;
    std::raise(SIGTERM);
  }
  const StopSignals signals;
  EXPECT_FALSE(signals.requested());
  EXPECT_EQ(signals.seconds_since_request(), 0);
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

TEST(StopSignals, ASecondSigtermChangesNothing) {
  const StopSignals signals;
  std::raise(SIGTERM);
  std::raise(SIGTERM);
  EXPECT_EQ(signals.signal_name(), "SIGTERM");
}

TEST(StopSignals, AnInterruptAfterSigtermIsTheFirstOfItsKind) {
  const StopSignals signals;
  std::raise(SIGTERM);
  std::raise(SIGINT);
  EXPECT_EQ(signals.signal_name(), "SIGTERM");
}

TEST(StopSignals, AHangUpABrokenPipeAndAFileTooLargeChangeNothing) {
  const StopSignals signals;
  std::raise(SIGHUP);
  std::raise(SIGPIPE);
  std::raise(SIGXFSZ);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
  EXPECT_FALSE(signals.requested());
}

TEST(StopSignals, AHandlerLeavesErrnoAlone) {
  const StopSignals signals;
  errno = ENOSPC;
  std::raise(SIGTERM);
  EXPECT_EQ(errno, ENOSPC);
}

TEST(StopSignals, WhicheverThreadGetsThemTheFirstCounts) {
  const StopSignals signals;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([] {
      for (int j = 0; j < 100; ++j) pthread_kill(pthread_self(), SIGTERM);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(signals.requested());
  EXPECT_EQ(signals.signal_name(), "SIGTERM");
}

TEST(StopSignals, AnIgnoredSignalStaysIgnored) {
  for (const int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, SIG_IGN);
    {
      const StopSignals signals;
      std::raise(signal);
      EXPECT_FALSE(signals.requested());
    }
    EXPECT_EQ(std::signal(signal, SIG_DFL), SIG_IGN);
  }
}

void handler_of_before(int) {}

TEST(StopSignals, TheActionsBeforeComeBack) {
  struct sigaction action = {};
  {
    const StopSignals signals;
  }
  for (const int signal : replaced_signals) {
    sigaction(signal, nullptr, &action);
    EXPECT_EQ(action.sa_handler, SIG_DFL) << signal;
    std::signal(signal, handler_of_before);
  }
  {
    const StopSignals signals;
    std::raise(SIGINT);  // resets the handler, which must not be what is restored
  }
  for (const int signal : replaced_signals) EXPECT_EQ(std::signal(signal, SIG_DFL), handler_of_before) << signal;
}

TEST(StopSignals, ASecondOneAtTheSameTimeIsRefused) {
  const StopSignals signals;
  EXPECT_THROW(StopSignals(), Error);
  std::raise(SIGTERM);
  EXPECT_TRUE(signals.requested());
}

}  // namespace
}  // namespace accrue::train

#include "train/stop_signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/tensor.h"
#include "kernels/matmul.h"
#include "kernels/threads.h"
#include "tests/train/stream_ends.h"

namespace accrue::train {
namespace {

constexpr int replaced_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};

// To the process, and waits until a handler that it has, on whichever thread, has ended.
void send(int signal) {
  ASSERT_EQ(kill(getpid(), signal), 0);
  sigset_t pending;
  while (sigpending(&pending) == 0 && sigismember(&pending, signal) == 1) std::this_thread::yield();
}

bool eventually_requested(const StopSignals& signals) {
  while (!signals.requested()) std::this_thread::yield();
  return true;
}

TEST(StopSignals, OneOfEitherKindIsARequest) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const StopSignals signals;
    EXPECT_FALSE(signals.requested());
    EXPECT_EQ(signals.signal_name(), "");
    send(signal);
    EXPECT_TRUE(eventually_requested(signals));
    EXPECT_EQ(signals.signal_name(), signal == SIGINT ? "SIGINT" : "SIGTERM");
  }
}

TEST(StopSignals, TimeRunsFromTheFirstRequest) {
  const StopSignals signals;
  EXPECT_EQ(signals.seconds_since_request(), 0);
  send(SIGTERM);
  ASSERT_TRUE(eventually_requested(signals));
  double before = signals.seconds_since_request();
  EXPECT_GE(before, 0);
  for (int i = 0; i < 1000; ++i) {
    send(i % 2 == 0 ? SIGTERM : SIGHUP);  // none of them starts it again
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
    send(SIGTERM);
    EXPECT_TRUE(eventually_requested(signals));
  }
  ASSERT_GE(dup2(standard_error.get(), STDERR_FILENO), 0);
}

TEST(StopSignals, ANewOneBeginsWithoutARequest) {
  {
    const StopSignals signals;
    send(SIGTERM);
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
        send(SIGINT);
        eventually_requested(signals);
        for (;;) send(SIGINT);
      },
      ::testing::KilledBySignal(SIGINT), "");
}

TEST(StopSignals, ASecondSigtermChangesNothing) {
  const StopSignals signals;
  send(SIGTERM);
  ASSERT_TRUE(eventually_requested(signals));
  send(SIGTERM);
  EXPECT_EQ(signals.signal_name(), "SIGTERM");
}

TEST(StopSignals, AnInterruptAfterSigtermIsTheFirstOfItsKind) {
  const StopSignals signals;
  send(SIGTERM);
  ASSERT_TRUE(eventually_requested(signals));
  send(SIGINT);
  EXPECT_EQ(signals.signal_name(), "SIGTERM");
}

TEST(StopSignals, AHangUpABrokenPipeAndAFileTooLargeChangeNothing) {
  const StopSignals signals;
  send(SIGHUP);
  send(SIGPIPE);
  send(SIGXFSZ);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  EXPECT_EQ(write(ends[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  close(ends[1]);
  EXPECT_FALSE(signals.requested());
}

// Asynchronous signals while oneDNN's products of many terms compute, whose stack pointer is not that of a stack.
TEST(StopSignals, NoThreadThatComputesIsInterrupted) {
  const StopSignals signals;
  kernels::on_every_thread([] {
    sigset_t mask;
    EXPECT_EQ(pthread_sigmask(SIG_BLOCK, nullptr, &mask), 0);
    EXPECT_EQ(sigismember(&mask, SIGINT), 1);
    EXPECT_EQ(sigismember(&mask, SIGTERM), 1);
  });
  std::atomic<bool> end = false;
  std::thread sender([&] {
    while (!end) kill(getpid(), SIGTERM);
  });
  constexpr std::int64_t terms = 20'000, width = 64;
  const Tensor a = Tensor::zeros({terms, width}), b = Tensor::zeros({terms, width}),
               out = Tensor::zeros({width, width});
  for (int i = 0; i < 50; ++i) {
    // Blocks around oneDNN's own, whose headers would be overwritten and then found to be damaged.
    std::vector<std::unique_ptr<char[]>> blocks;
    for (std::size_t size = 16; size < 64 << 10; size *= 2) blocks.push_back(std::make_unique<char[]>(size));
    kernels::matmul({.out = out, .a = a, .b = b, .transpose_a = true});
  }
  end = true;
  sender.join();
  EXPECT_TRUE(eventually_requested(signals));
}

TEST(StopSignals, WhicheverThreadGetsThemTheFirstCounts) {
  const StopSignals signals;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([] {
      for (int j = 0; j < 100; ++j) kill(getpid(), SIGTERM);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(eventually_requested(signals));
  EXPECT_EQ(signals.signal_name(), "SIGTERM");
}

TEST(StopSignals, AnIgnoredSignalStaysIgnored) {
  for (const int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, SIG_IGN);
    {
      const StopSignals signals;
      send(signal);
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
    send(SIGINT);  // resets the handler, which must not be what is restored
  }
  for (const int signal : replaced_signals) EXPECT_EQ(std::signal(signal, SIG_DFL), handler_of_before) << signal;
}

TEST(StopSignals, ASecondOneAtTheSameTimeIsRefused) {
  const StopSignals signals;
  EXPECT_THROW(StopSignals(), Error);
  send(SIGTERM);
  EXPECT_TRUE(eventually_requested(signals));
}

}  // namespace
}  // namespace accrue::train

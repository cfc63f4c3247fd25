#include "train/console.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>

#include <array>
#include <cstdio>
#include <string>
#include <thread>

#include "tests/train/files.h"
#include "train/file_descriptor.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::HasSubstr;
using ::testing::StartsWith;

FileDescriptor new_file(const std::filesystem::path& path) {
  return FileDescriptor(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends;
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return;
    read_end = FileDescriptor(ends[0]);
    write_end = FileDescriptor(ends[1]);
  }
  FileDescriptor read_end, write_end;
};

TEST(Console, WritesAtOnceToItsTwoStreams) {
  const TemporaryFolder folder;
  const FileDescriptor out = new_file(folder / "out"), err = new_file(folder / "err");
  Console console(out.get(), err.get());
  console.print("{} and {}\n", 1, "two");
  EXPECT_EQ(read_file(folder / "out"), "1 and two\n");
  console.warn("warning: {}\n", 3);
  EXPECT_EQ(read_file(folder / "err"), "warning: 3\n");
  EXPECT_FALSE(console.is_terminal());
  EXPECT_EQ(console.width(), 80u);
}

// What the console says on standard error about a standard output that fails; after three lines for it.
std::string said_about(int out) {
  const TemporaryFolder folder;
  const FileDescriptor err = new_file(folder / "err");
  Console console(out, err.get());
  for (int i = 0; i < 3; ++i) console.print("line {}\n", i);
  return read_file(folder / "err");
}

constexpr char consequence[] = "); training goes on, metrics.jsonl has everything\n";

TEST(Console, AReaderThatWentAwayIsSaidOnceAndEndsNothing) {
  Pipe pipe;
  pipe.read_end = FileDescriptor();
  // SIGPIPE has its default action here, which would end the process.
  EXPECT_EQ(said_about(pipe.write_end.get()),
            std::string("standard output cannot be written (Broken pipe") + consequence);
  sigset_t pending;
  ASSERT_EQ(sigpending(&pending), 0);
  EXPECT_FALSE(sigismember(&pending, SIGPIPE)) << "it would end the process as soon as it is let through";
}

TEST(Console, ABrokenPipeThatWasOnItsWayBeforeStays) {
  sigset_t signals, before, pending;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  ASSERT_EQ(pthread_sigmask(SIG_BLOCK, &signals, &before), 0);
  raise(SIGPIPE);
  Pipe pipe;
  pipe.read_end = FileDescriptor();
  EXPECT_NE(said_about(pipe.write_end.get()), "");
  ASSERT_EQ(sigpending(&pending), 0);
  EXPECT_TRUE(sigismember(&pending, SIGPIPE));
  int taken = 0;
  ASSERT_EQ(sigwait(&signals, &taken), 0);
  ASSERT_EQ(pthread_sigmask(SIG_SETMASK, &before, nullptr), 0);
}

TEST(Console, AFullDiskIsSaidOnce) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  const FileDescriptor full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(said_about(full.get()),
            std::string("standard output cannot be written (No space left on device") + consequence);
}

TEST(Console, AClosedStreamIsSaidOnce) {
  EXPECT_EQ(said_about(-1), std::string("standard output cannot be written (Bad file descriptor") + consequence);
}

TEST(Console, ATerminalThatWasClosedIsSaidOnce) {
  FileDescriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_EQ(grantpt(master.get()), 0);
  ASSERT_EQ(unlockpt(master.get()), 0);
  const FileDescriptor terminal(open(ptsname(master.get()), O_WRONLY | O_NOCTTY | O_CLOEXEC));
  EXPECT_TRUE(Console(terminal.get()).is_terminal());
  master = FileDescriptor();
  EXPECT_EQ(said_about(terminal.get()),
            std::string("standard output cannot be written (Input/output error") + consequence);
}

TEST(Console, WithoutAnyStreamItIsSilent) {
  Console console(-1, -1);
  console.print("nobody\n");
  console.warn("reads this\n");
}

TEST(Console, WritesAllToAPipeThatSomebodyMadeNonBlocking) {
  Pipe pipe;
  ASSERT_EQ(fcntl(pipe.write_end.get(), F_SETFL, O_NONBLOCK), 0);
  const std::string text(1 << 20, 'x');  // more than a pipe holds
  std::string received;
  std::thread reader([&] {
    std::array<char, 4096> piece;
    for (ssize_t size = 1; size > 0;) {
      size = read(pipe.read_end.get(), piece.data(), piece.size());
      if (size > 0) received.append(piece.data(), static_cast<std::size_t>(size));
    }
  });
  Console(pipe.write_end.get(), -1).write(text);
  pipe.write_end = FileDescriptor();
  reader.join();
  EXPECT_EQ(received, text);
}

}  // namespace
}  // namespace accrue::train

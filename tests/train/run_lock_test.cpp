#include "train/run_lock.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>

#include "tests/train/files.h"
#include "train/lock_holder.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A process of its own that lives until it is destroyed.
class Child {
 public:
  Child() : process_(fork()) {
    if (process_ != 0) return;
    for (;;) pause();
  }
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void end() {
    if (!alive_) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    alive_ = false;
  }
  LockHolder as_holder() const {
    LockHolder holder = this_lock_holder();
    holder.process = process_;
    holder.start = start_of_process(process_).value_or(0);
    return holder;
  }
  std::string name() const { return "process " + std::to_string(process_); }

 private:
  pid_t process_;
  bool alive_ = true;
};

// What a system without file locks, such as some network file systems, answers to flock(): for this process and its
// children, for good.
bool deny_flock() {
  std::array<sock_filter, 4> program = {{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                                         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_flock, 0, 1),
                                         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
                                         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

constexpr int no_filter = 77;

// Runs a test's body in a process that has no flock(), and returns its exit code: 0 if all went as expected.
int without_flock(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    if (!deny_flock()) _exit(no_filter);
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

class RunLockTest : public ::testing::Test {
 protected:
  const fs::path& run() const { return folder.path(); }
  std::string content() const { return read_file(folder / "lock"); }
  std::string refusal() const {
    return error_of(ErrorKind::cannot_create, [&] { RunLock lock(run()); });
  }
  void expect_without_flock(const std::function<void()>& body) const {
    const int code = without_flock(body);
    if (code == no_filter) GTEST_SKIP() << "this system has no seccomp filters";
    EXPECT_EQ(code, 0);
  }

  TemporaryFolder folder;
};

TEST_F(RunLockTest, ASecondIsRefusedNamingTheFirstUntilThatIsGone) {
  auto first = std::make_unique<RunLock>(run());
  EXPECT_EQ(first->note(), "");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("--out " + run().string() + ": process " + std::to_string(getpid()) +
                                         " is training there (since 20"),
                               HasSubstr("wait for it, stop it, or choose another --out")));
  first.reset();
  EXPECT_EQ(RunLock(run()).note(), "");
}

TEST_F(RunLockTest, SaysWhoHoldsItAndIsEmptyAfterwards) {
  {
    const RunLock lock(run());
    EXPECT_EQ(parse_lock(content()).holder.process, getpid());
  }
  EXPECT_EQ(content(), "");
  EXPECT_EQ(std::distance(fs::directory_iterator(run()), fs::directory_iterator()), 1);
}

TEST_F(RunLockTest, TheLineOfAProcessThatIsGoneIsTakenOver) {
  Child child;
  write_file(folder / "lock", child.as_holder().to_line());
  child.end();
  const RunLock lock(run());
  EXPECT_EQ(lock.note(), "took over the lock of " + child.name() + ", which is gone");
  EXPECT_EQ(parse_lock(content()).holder.process, getpid());
}

TEST_F(RunLockTest, TheLineOfAProcessThatWasKilledOnAnotherHostIsTakenOver) {
  write_file(folder / "lock", "accrue lock: process 1 on elsewhere since 2026-03-01T12:00:00Z, start 5\n");
  EXPECT_THAT(RunLock(run()).note(), HasSubstr("process 1 on elsewhere, which is gone"));
}

TEST_F(RunLockTest, AProcessThatLivesAndHasTheFileOpenHasItEvenWithoutALockOfTheSystems) {
  write_file(folder / "lock", "");
  const FileDescriptor file(::open((folder / "lock").c_str(), O_RDWR | O_CLOEXEC));
  const Child child;  // with a copy of that
  const std::string line = child.as_holder().to_line();
  ASSERT_EQ(write(file.get(), line.data(), line.size()), std::ssize(line));
  EXPECT_THAT(refusal(), HasSubstr(child.name() + " is training there"));
  EXPECT_EQ(content(), line);
}

TEST_F(RunLockTest, ACopyOfADirectoryInWhichAProcessTrainsIsFree) {
  const Child child;
  write_file(folder / "lock", child.as_holder().to_line());
  EXPECT_EQ(RunLock(run()).note(), "");
}

TEST_F(RunLockTest, WhoeverLocksTheFileButLeavesNoNameIsAnotherProcess) {
  for (const char* text : {"", "accrue lock: process 1 on h"}) {
    write_file(folder / "lock", text);
    const FileDescriptor file(::open((folder / "lock").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(flock(file.get(), LOCK_EX | LOCK_NB), 0);
    EXPECT_THAT(refusal(), HasSubstr("another process is training there;"));
    EXPECT_EQ(content(), text);
  }
}

TEST_F(RunLockTest, WhatAPowerCutLeftOfALineHindersNobody) {
  for (const std::string& text : {std::string("accrue lock: process 1 on h"), std::string(64, '\0')}) {
    write_file(folder / "lock", text);
    EXPECT_EQ(RunLock(run()).note(), "");
  }
}

TEST_F(RunLockTest, AFileOfTheUsersIsLeftAlone) {
  write_file(folder / "lock", "precious");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("lock: exists and is not the lock of a run"), HasSubstr("move it away")));
  EXPECT_EQ(content(), "precious");
  write_file(folder / "elsewhere", "");
  fs::remove(folder / "lock");
  fs::create_symlink("elsewhere", folder / "lock");
  EXPECT_THAT(refusal(), HasSubstr("symbolic link"));
  EXPECT_EQ(read_file(folder / "elsewhere"), "");
}

TEST_F(RunLockTest, WhatIsNoFileIsRefused) {
  ASSERT_EQ(mkfifo((folder / "lock").c_str(), 0600), 0);
  EXPECT_THAT(refusal(), HasSubstr("lock: is not a file"));
  fs::remove(folder / "lock");
  fs::create_directory(folder / "lock");
  EXPECT_THAT(refusal(), HasSubstr("Is a directory"));
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { RunLock lock(folder / "none"); }),
              HasSubstr("No such file or directory"));
}

TEST_F(RunLockTest, AChildProcessDoesNotKeepIt) {
  auto first = std::make_unique<RunLock>(run());
  const Child child;  // without an exec, which would close the file
  first.reset();
  EXPECT_EQ(RunLock(run()).note(), "");
}

TEST_F(RunLockTest, AChildProcessDoesNotGiveItAway) {
  auto first = std::make_unique<RunLock>(run());
  const pid_t child = fork();
  if (child == 0) {
    first.reset();
    _exit(0);
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(parse_lock(content()).holder.process, getpid());
  EXPECT_THAT(refusal(), HasSubstr("is training there"));
}

TEST_F(RunLockTest, WithoutLocksOfTheSystemsTheLineKeepsASecondOut) {
  expect_without_flock([&] {
    auto first = std::make_unique<RunLock>(run());
    EXPECT_EQ(first->note(), "");
    EXPECT_EQ(parse_lock(content()).holder.process, getpid());
    EXPECT_THAT(refusal(), HasSubstr("process " + std::to_string(getpid()) + " is training there (since 20"));
    first.reset();
    EXPECT_EQ(content(), "");
    EXPECT_EQ(RunLock(run()).note(), "");
    EXPECT_EQ(std::distance(fs::directory_iterator(run()), fs::directory_iterator()), 1) << "something temporary stays";
  });
}

TEST_F(RunLockTest, WithoutLocksOfTheSystemsTheLineOfAProcessThatIsGoneIsTakenOver) {
  Child child;
  const std::string line = child.as_holder().to_line();
  write_file(folder / "lock", line);
  expect_without_flock([&] { EXPECT_THAT(refusal(), HasSubstr(child.name() + " is training there")); });
  EXPECT_EQ(content(), line);
  child.end();
  expect_without_flock(
      [&] { EXPECT_EQ(RunLock(run()).note(), "took over the lock of " + child.name() + ", which is gone"); });
  EXPECT_EQ(content(), "");
}

TEST_F(RunLockTest, WithoutLocksOfTheSystemsAnotherHostIsRefusedWithAdvice) {
  const std::string line = "accrue lock: process 1 on elsewhere since 2026-03-01T12:00:00Z, start 5\n";
  write_file(folder / "lock", line);
  expect_without_flock([&] {
    EXPECT_THAT(refusal(), AllOf(HasSubstr("process 1 on elsewhere is training there (since 2026-03-01T12:00:00Z)"),
                                 HasSubstr("if you are sure that it is gone, remove " + (folder / "lock").string())));
  });
  EXPECT_EQ(content(), line);
  fs::remove(folder / "lock");
  expect_without_flock([&] { EXPECT_EQ(RunLock(run()).note(), ""); });
}

TEST_F(RunLockTest, WithoutLocksOfTheSystemsAForeignFileIsLeftAlone) {
  write_file(folder / "lock", "precious");
  expect_without_flock([&] { EXPECT_THAT(refusal(), HasSubstr("is not the lock of a run")); });
  EXPECT_EQ(content(), "precious");
  EXPECT_EQ(std::distance(fs::directory_iterator(run()), fs::directory_iterator()), 1);
}

TEST_F(RunLockTest, WithoutLocksOfTheSystemsOneTakesItAtATime) {
  write_file(folder / "lock.next", "");
  expect_without_flock([&] {
    EXPECT_THAT(refusal(), AllOf(HasSubstr("another process is starting there"),
                                 HasSubstr("remove " + (folder / "lock.next").string())));
  });
  EXPECT_TRUE(fs::exists(folder / "lock.next"));
}

// Takes the lock in so many processes at once, each of which keeps it until all have tried; returns how many got it.
int winners_of(int contenders, const fs::path& run) {
  std::array<int, 2> start, result, end;
  for (auto* ends : {&start, &result, &end}) EXPECT_EQ(pipe(ends->data()), 0);
  for (int i = 0; i < contenders; ++i) {
    if (fork() != 0) continue;
    for (const auto* ends : {&start, &end}) close((*ends)[1]);
    char byte;
    [[maybe_unused]] const ssize_t started = read(start[0], &byte, 1);  // until the parent closes it
    std::optional<RunLock> lock;
    try {
      lock.emplace(run);
    } catch (const Error&) {
    }
    byte = lock ? 'y' : 'n';
    if (write(result[1], &byte, 1) != 1) _exit(1);
    [[maybe_unused]] const ssize_t ended = read(end[0], &byte, 1);
    _exit(0);  // as if killed: the line stays
  }
  close(start[1]);
  int winners = 0;
  for (int i = 0; i < contenders; ++i) {
    char byte = 0;
    EXPECT_EQ(read(result[0], &byte, 1), 1);
    winners += byte == 'y';
  }
  close(end[1]);
  while (wait(nullptr) > 0) continue;
  for (const int fd : {start[0], result[0], result[1], end[0]}) close(fd);
  return winners;
}

TEST_F(RunLockTest, OfManyAtOnceOneGetsIt) {
  for (int round = 0; round < 20; ++round) EXPECT_EQ(winners_of(8, run()), 1) << round;
}

TEST_F(RunLockTest, WithoutLocksOfTheSystemsOfManyAtOnceOneGetsIt) {
  expect_without_flock([&] {
    for (int round = 0; round < 20; ++round) EXPECT_EQ(winners_of(8, run()), 1) << round;
  });
}

}  // namespace
}  // namespace accrue::train

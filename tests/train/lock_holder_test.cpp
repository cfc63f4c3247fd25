#include "train/lock_holder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace accrue::train {
namespace {

const LockHolder holder{.process = 1234, .host = "node-7", .start = 5678, .since = "2026-03-01T12:00:00Z"};

TEST(LockHolder, IsALineThatComesBack) {
  EXPECT_EQ(holder.to_line(), "accrue lock: process 1234 on node-7 since 2026-03-01T12:00:00Z, start 5678\n");
  const LockHolder self = this_lock_holder();
  EXPECT_EQ(self.process, getpid());
  for (const LockHolder& one : {holder, self}) {
    const ParsedLock parsed = parse_lock(one.to_line());
    EXPECT_EQ(parsed.content, LockContent::holder);
    EXPECT_EQ(parsed.holder, one);
  }
}

TEST(LockHolder, EveryBeginningOfALineSaysNothing) {
  const std::string line = holder.to_line();
  for (std::size_t size = 0; size < line.size(); ++size)
    EXPECT_EQ(parse_lock(line.substr(0, size)).content, LockContent::empty) << size;
  EXPECT_EQ(parse_lock(std::string(line.size(), '\0')).content, LockContent::empty);
}

TEST(LockHolder, EverythingElseIsForeign) {
  const std::string line = holder.to_line();
  for (const std::string& text :
       {std::string("1234\n"), std::string("my notes"), " " + line, std::string("accrue\n"), std::string("x"),
        std::string(1, '\0') + "x", std::string("accrue lock: process ") + std::string(1000, '1')})
    EXPECT_EQ(parse_lock(text).content, LockContent::foreign) << text;
}

TEST(LockHolder, ALineWithImpossibleNumbersOrHostsNamesNobody) {
  for (const char* text :
       {"accrue lock: process 0 on h since t, start 1\n", "accrue lock: process -1 on h since t, start 1\n",
        "accrue lock: process 4294967297 on h since t, start 1\n",
        "accrue lock: process 99999999999999999999 on h since t, start 1\n",
        "accrue lock: process 1 on  since t, start 1\n", "accrue lock: process 1 on \x1b[2J since t, start 1\n",
        "accrue lock: process 1 on h since t, start -1\n", "accrue lock: process 1 on h since t, start 1\n\n"})
    EXPECT_NE(parse_lock(text).content, LockContent::holder) << text;
}

TEST(StateOfAHolder, ComparesTheStartBecauseNumbersAreUsedAgain) {
  const auto none = [](std::int64_t) { return std::optional<std::uint64_t>(); };
  const auto started = [](std::uint64_t at) {
    return [at](std::int64_t process) {
      EXPECT_EQ(process, 1234);
      return std::optional<std::uint64_t>(at);
    };
  };
  EXPECT_EQ(state_of(holder, "node-7", started(5678)), HolderState::alive);
  EXPECT_EQ(state_of(holder, "node-7", started(5679)), HolderState::gone);
  EXPECT_EQ(state_of(holder, "node-7", none), HolderState::gone);
  EXPECT_EQ(state_of(holder, "node-8", none), HolderState::elsewhere);
  EXPECT_EQ(state_of(holder, "node-8", started(5678)), HolderState::elsewhere);
}

TEST(StateOfAHolder, AnUnknownStartCouldBeTheHolders) {
  EXPECT_EQ(state_of(holder, "node-7", [](std::int64_t) { return std::optional<std::uint64_t>(0); }),
            HolderState::alive);
  LockHolder unknown = holder;
  unknown.start = 0;
  EXPECT_EQ(state_of(unknown, "node-7", [](std::int64_t) { return std::optional<std::uint64_t>(77); }),
            HolderState::alive);
}

TEST(NameOfAHolder, HasTheHostWhereItIsAnother) {
  EXPECT_EQ(name_of(holder, "node-7"), "process 1234");
  EXPECT_EQ(name_of(holder, "node-8"), "process 1234 on node-7");
}

TEST(StartOfProcess, IsTheSameForAsLongAsItLives) {
  const auto own = start_of_process(getpid());
  ASSERT_TRUE(own.has_value());
  EXPECT_GT(*own, 0u) << "no /proc on this system";
  EXPECT_EQ(start_of_process(getpid()), own);
  EXPECT_LE(start_of_process(getppid()).value_or(0), *own);
}

TEST(StartOfProcess, OneThatHasEndedHasNone) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(start_of_process(child).has_value()) << "it only waits for its parent to notice";
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(start_of_process(child).has_value());
}

}  // namespace
}  // namespace accrue::train

// metrics.jsonl on a disk of which the n-th call fails: no line that was written is lost, and none counts twice.
#include <cerrno>
#include <cstring>
#include <iostream>
#include <optional>

#include "tests/faults/recording.h"
#include "tests/train/files.h"
#include "train/json_lines.h"

#include <nlohmann/json.hpp>

namespace accrue::testing::faults {
namespace {

using ::testing::HasSubstr;

// A log of three windows.
class LogFaults : public ::testing::Test {
 protected:
  LogFaults() { start_over(); }
  void start_over() { write_file(log(), three); }
  std::filesystem::path log() const { return folder / "metrics.jsonl"; }

  // Calls the function with the action at each of its calls, of which there must be some.
  void at_each_call(Action action, int error, const std::function<void()>& function,
                    const std::function<void(const std::string& message)>& check) {
    for (long n = 1;; ++n) {
      SCOPED_TRACE(fmt::format("call {}: {}", n, std::strerror(error)));
      start_over();
      const int descriptors = open_descriptors();
      std::string message;
      const Plan plan{
          .folder = folder.path().string(), .calls = changing | reading, .action = action, .at = n, .error = error};
      const Tally tally = with_faults(plan, [&] {
        try {
          function();
        } catch (const Error& caught) {
          message = caught.what();
          EXPECT_THAT(message, HasSubstr(folder.path().string()));
          EXPECT_THAT(message, HasSubstr(std::strerror(error)));
        }
      });
      EXPECT_LE(open_descriptors(), descriptors + (message.empty() ? 1 : 0)) << "one for a log that stays open";
      if (tally.calls < n) {
        EXPECT_GT(n, 3);
        std::cout << n - 1 << " calls of the log met a fault\n";
        return;
      }
      check(message);
    }
  }

  static constexpr const char* three = "{\"window\":0}\n{\"window\":1}\n{\"window\":2}\n";
  static constexpr const char* two = "{\"window\":0}\n{\"window\":1}\n";
  TemporaryFolder folder;
};

TEST_F(LogFaults, WhileItIsShortenedLeaveTheOldLogOrTheNewOne) {
  const auto shorten = [&] { train::truncate_after(log(), 2); };
  for (const int error : {ENOSPC, EIO, EMFILE})
    for (const Action action : {Action::fail, Action::fail_from})
      at_each_call(action, error, shorten, [&](const std::string& message) {
        const std::string content = read_file(log());
        EXPECT_TRUE(content == two || (content == three && !message.empty())) << content << message;
      });
  for (const Action action : {Action::interrupt, Action::shorten})
    at_each_call(action, 0, shorten, [&](const std::string& message) {
      EXPECT_EQ(message, "");
      EXPECT_EQ(read_file(log()), two);
    });
}

TEST_F(LogFaults, WhileItGrowsKeepTheLinesBeforeAndThoseThatWait) {
  std::optional<train::JsonLines> lines;
  const auto grow = [&] {
    lines.reset();
    lines.emplace(log(), train::JsonLines::Mode::append);
    lines->write({{"window", 3}});
    lines->write({{"window", 4}});
  };
  const std::string five = std::string(three) + "{\"window\":3}\n{\"window\":4}\n";
  for (const int error : {ENOSPC, EIO})
    for (const Action action : {Action::fail, Action::fail_from})
      at_each_call(action, error, grow, [&](const std::string& message) {
        EXPECT_TRUE(read_file(log()).starts_with(three));
        EXPECT_EQ(lines.has_value(), message.empty());
        if (!lines) return;
        lines->make_durable();  // on a disk that is well again
        EXPECT_EQ(read_file(log()), five);
      });
  for (const Action action : {Action::interrupt, Action::shorten})
    at_each_call(action, 0, grow, [&](const std::string& message) {
      EXPECT_EQ(message, "");
      EXPECT_EQ(read_file(log()), five);
    });
}

// A system forgets the pages that a disk has refused to keep, and says so once.
TEST_F(LogFaults, WhatADiskHasNotKeptIsWrittenAgain) {
  write_file(log(), three);
  train::JsonLines lines(log(), train::JsonLines::Mode::append);
  lines.write({{"window", 3}});
  const Plan plan{.folder = folder.path().string(), .calls = changing, .action = Action::fail, .at = 1, .error = EIO};
  const Tally tally = with_faults(plan, [&] {
    EXPECT_THAT(error_of(ErrorKind::io, [&] { lines.make_durable(); }), HasSubstr("cannot be made durable"));
  });
  EXPECT_TRUE(tally.fired);
  write_file(log(), three);  // as a crash would find it
  lines.write({{"window", 4}});
  lines.make_durable();
  EXPECT_EQ(read_file(log()), std::string(three) + "{\"window\":3}\n{\"window\":4}\n");
}

// Log rotation, and then a disk that fails.
TEST_F(LogFaults, WhatSomebodyElseHasCutOffIsNotWrittenAgain) {
  write_file(log(), three);
  train::JsonLines lines(log(), train::JsonLines::Mode::append);
  lines.write({{"window", 3}});
  write_file(log(), "");
  lines.write({{"window", 4}});
  const Plan plan{.folder = folder.path().string(), .calls = changing, .action = Action::fail, .at = 1, .error = EIO};
  with_faults(plan, [&] { error_of(ErrorKind::io, [&] { lines.make_durable(); }); });
  lines.make_durable();
  EXPECT_EQ(read_file(log()), "{\"window\":4}\n");
}

}  // namespace
}  // namespace accrue::testing::faults

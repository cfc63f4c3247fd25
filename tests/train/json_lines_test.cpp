#include "train/json_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <limits>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>

#include "tests/train/files.h"
#include "train/checksum.h"
#include "train/loss_curve.h"
#include "train/mapped_file.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(JsonLines, EveryObjectIsALineThatIsThereAtOnce) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  JsonLines log(path, JsonLines::Mode::start_over);
  log.write({{"update", 1}});
  EXPECT_EQ(read_file(path), "{\"update\":1}\n");
  log.write({{"update", 2}, {"text", "two\nlines"}});
  EXPECT_EQ(read_file(path), "{\"update\":1}\n{\"text\":\"two\\nlines\",\"update\":2}\n");
}

TEST(JsonLines, AppendContinuesAndStartOverDoesNot) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  JsonLines(path, JsonLines::Mode::start_over).write({{"update", 1}});
  JsonLines(path, JsonLines::Mode::append).write({{"update", 2}});
  EXPECT_EQ(read_file(path), "{\"update\":1}\n{\"update\":2}\n");
  JsonLines(path, JsonLines::Mode::start_over).write({{"update", 3}});
  EXPECT_EQ(read_file(path), "{\"update\":3}\n");
}

TEST(JsonLines, AFileThatCannotBeOpenedIsCannotCreateWithTheReason) {
  const TemporaryFolder folder;
  EXPECT_THAT(
      error_of(ErrorKind::cannot_create, [&] { JsonLines(folder / "none" / "log.jsonl", JsonLines::Mode::append); }),
      HasSubstr("No such file or directory"));
}

TEST(JsonLines, WhatHasNoOffsetsIsRefusedWithoutWaiting) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const auto mode : {JsonLines::Mode::append, JsonLines::Mode::start_over})
    EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { JsonLines(folder / "pipe", mode); }),
                HasSubstr("Illegal seek"));
}

TEST(JsonLines, AppendCutsATornLastLineOff) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  const std::string torn = "{\"loss\":" + std::string(10'000, '1');  // longer than what is read at once
  for (const std::string& whole : {std::string(), std::string("{\"update\":1}\n"), std::string("{}\n{}\n")}) {
    write_file(path, whole + torn);
    JsonLines log(path, JsonLines::Mode::append);
    EXPECT_EQ(read_file(path), whole);
    log.write({{"update", 2}});
    EXPECT_EQ(read_file(path), whole + "{\"update\":2}\n");
  }
}

TEST(JsonLines, AFullDiskStopsNobody) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  JsonLines log("/dev/full", JsonLines::Mode::append);
  EXPECT_EQ(log.trouble(), "");
  for (int update = 1; update <= 3; ++update) {
    log.write({{"update", update}});
    EXPECT_EQ(log.trouble(), "/dev/full cannot be written: No space left on device");
  }
  EXPECT_THAT(error_of(ErrorKind::io, [&] { log.make_durable(); }),
              AllOf(HasSubstr("/dev/full"), HasSubstr("No space left on device"),
                    HasSubstr("3 lines are only in memory"), HasSubstr("free space")));
}

// While it lives, files of this process cannot grow beyond so many bytes: a disk that is full.
class LargestFile {
 public:
  explicit LargestFile(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    set(bytes);
  }
  ~LargestFile() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }
  LargestFile(const LargestFile&) = delete;
  LargestFile& operator=(const LargestFile&) = delete;
  void set(rlim_t bytes) const {
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }

 private:
  void (*signal_)(int);
  rlimit before_{};
};

std::string line_of(int update) { return nlohmann::json{{"update", update}}.dump() + "\n"; }

TEST(JsonLines, LinesThatFindNoRoomWaitInTheirOrderAndNoHalfLineStays) {
  // The disk has room for so many bytes more, the end of a line and every place within one among them.
  for (std::size_t room = 0; room <= 3 * line_of(1).size(); ++room) {
    SCOPED_TRACE(room);
    const TemporaryFolder folder;
    const fs::path path = folder / "log.jsonl";
    JsonLines log(path, JsonLines::Mode::start_over);
    log.write({{"update", 1}});
    std::string all = line_of(1);
    const std::size_t limit = all.size() + room;
    {
      const LargestFile full(limit);
      for (int update = 2; update <= 6; ++update) {
        log.write({{"update", update}});
        all += line_of(update);
        const std::size_t fit = std::min(all.size(), limit);
        const std::string expected = all.substr(0, fit == 0 ? 0 : all.rfind('\n', fit - 1) + 1);
        ASSERT_EQ(read_file(path), expected);
        ASSERT_EQ(log.trouble(), expected == all ? "" : path.string() + " cannot be written: File too large");
      }
      ASSERT_THAT(error_of(ErrorKind::io, [&] { log.make_durable(); }), HasSubstr("File too large"));
    }
    log.write({{"update", 7}});
    EXPECT_EQ(log.trouble(), "");
    EXPECT_EQ(read_file(path), all + line_of(7));
  }
}

TEST(JsonLines, MakingItDurableWritesWhatWaits) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  JsonLines log(path, JsonLines::Mode::start_over);
  {
    const LargestFile full(0);
    log.write({{"update", 1}});
    EXPECT_NE(log.trouble(), "");
  }
  EXPECT_EQ(read_file(path), "");
  log.make_durable();
  EXPECT_EQ(log.trouble(), "");
  EXPECT_EQ(read_file(path), line_of(1));
}

TEST(JsonLines, GoesOnAtTheEndOfAFileThatSomebodyShortened) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  JsonLines log(path, JsonLines::Mode::start_over);
  for (int update = 1; update <= 3; ++update) log.write({{"update", update}});
  fs::resize_file(path, line_of(1).size() + 3);
  log.write({{"update", 4}});
  EXPECT_EQ(read_file(path), line_of(1) + line_of(4));
  fs::resize_file(path, 0);
  log.write({{"update", 5}});
  EXPECT_EQ(read_file(path), line_of(5));
}

TEST(JsonNumber, WritesWhatJsonCannotAsAString) {
  EXPECT_EQ(json_number(1.5).dump(), "1.5");
  EXPECT_EQ(json_number(std::numeric_limits<double>::quiet_NaN()).dump(), "\"NaN\"");
  EXPECT_EQ(json_number(std::numeric_limits<double>::infinity()).dump(), "\"Infinity\"");
  EXPECT_EQ(json_number(-std::numeric_limits<double>::infinity()).dump(), "\"-Infinity\"");
}

TEST(JsonNumber, EveryDoubleComesBackWithItsBits) {
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -2.5})
    EXPECT_EQ(nlohmann::json::parse(json_number(value).dump()).get<double>(), value);
}

TEST(TruncateAfter, KeepsTheFirstWindows) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  write_file(path, "{\"window\":0}\n{\"loss\":0.5,\"window\":1}\n{\"window\":2}\n");
  truncate_after(path, 2);
  EXPECT_EQ(read_file(path), "{\"window\":0}\n{\"loss\":0.5,\"window\":1}\n");
  truncate_after(path, 0);
  EXPECT_EQ(read_file(path), "");
}

TEST(TruncateAfter, SkippedWindowsAfterTheCheckpointGoAlthoughTheirUpdateIsItsOwn) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  const std::string kept = "{\"update\":1,\"window\":0}\n{\"update\":1,\"window\":1}\n";
  write_file(path, kept + "{\"update\":1,\"window\":2}\n");
  truncate_after(path, 2);
  EXPECT_EQ(read_file(path), kept);
}

TEST(TruncateAfter, ATornLastLineGoes) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  write_file(path, "{\"window\":0}\n{\"wind");
  truncate_after(path, 9);
  EXPECT_EQ(read_file(path), "{\"window\":0}\n");
  write_file(path, "{\"window\":0}\n{\"window\":1}");  // whole, but for its end: kept as a line
  truncate_after(path, 9);
  EXPECT_EQ(read_file(path), "{\"window\":0}\n{\"window\":1}\n");
}

TEST(TruncateAfter, ALineLongerThanAnyOfTheLogGoes) {
  const TemporaryFolder folder;
  const fs::path path = folder / "log.jsonl";
  write_file(path, "{\"window\":0}\n{\"window\":1,\"text\":\"" + std::string(longest_metrics_line, 'x') + "\"}\n");
  truncate_after(path, 9);
  EXPECT_EQ(read_file(path), "{\"window\":0}\n");
}

TEST(TruncateAfter, APipeIsRefusedWithoutWaiting) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "log.jsonl").c_str(), 0600), 0);
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { truncate_after(folder / "log.jsonl", 1); }), HasSubstr("is a pipe"));
}

TEST(LossCurveOfARun, MayGrowWhileItIsRead) {
  const TemporaryFolder folder;
  write_file(folder / "log.jsonl", "{\"update\":1,\"loss\":1}\n");
  fs::last_write_time(folder / "log.jsonl", fs::file_time_type::clock::now() - std::chrono::hours(1));
  const MappedFile file(folder / "log.jsonl");
  remember_content(file.bytes(), checksum64(file.bytes(), 0));
  std::ofstream(folder / "log.jsonl", std::ios::app) << "{\"update\":2,\"loss\":1}\n";
  EXPECT_EQ(file.read_intact([](auto bytes) { return parse_loss_curve(bytes, "log").train.size(); }), 1u);
}

TEST(TruncateAfter, SaysWhichWindowIsTheLast) {
  const TemporaryFolder folder;
  EXPECT_EQ(truncate_after(folder / "log.jsonl", 5), -1);
  write_file(folder / "log.jsonl", "{\"window\":0}\n{\"window\":1}\n{\"window\":7}\n");
  EXPECT_EQ(truncate_after(folder / "log.jsonl", 5), 1);
  EXPECT_EQ(truncate_after(folder / "log.jsonl", 0), -1);
  EXPECT_EQ(truncate_after("/dev/null", 5), -1);
}

TEST(TruncateAfter, ALinkStaysOne) {
  const TemporaryFolder folder;
  write_file(folder / "elsewhere", "{\"window\":0}\n{\"window\":1}\n");
  fs::create_symlink("elsewhere", folder / "log.jsonl");
  truncate_after(folder / "log.jsonl", 1);
  EXPECT_TRUE(fs::is_symlink(folder / "log.jsonl"));
  EXPECT_EQ(read_file(folder / "elsewhere"), "{\"window\":0}\n");
}

TEST(TruncateAfter, AMissingFileStaysMissingAndNothingTemporaryStays) {
  const TemporaryFolder folder;
  truncate_after(folder / "none.jsonl", 5);
  EXPECT_TRUE(fs::is_empty(folder.path()));
  write_file(folder / "log.jsonl", "{\"window\":1}\n");
  truncate_after(folder / "log.jsonl", 5);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1);
}

}  // namespace
}  // namespace accrue::train

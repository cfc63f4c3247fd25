#include "train/json_lines.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
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

TEST(JsonLines, AFullDiskIsAnIoError) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  JsonLines log("/dev/full", JsonLines::Mode::append);
  EXPECT_THAT(error_of(ErrorKind::io, [&] { log.write({{"update", 1}}); }), HasSubstr("No space left on device"));
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

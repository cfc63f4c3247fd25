#include "train/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using accrue::testing::TemporaryFolder;
using accrue::testing::write_file;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string text_of(const MappedFile& file) { return {file.bytes().begin(), file.bytes().end()}; }

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  const TemporaryFolder folder;
  const std::string content("a\0b\xff", 4);
  write_file(folder / "file", content);
  EXPECT_EQ(text_of(MappedFile(folder / "file")), content);
}

TEST(MappedFile, AnEmptyFileIsAnEmptySpan) {
  const TemporaryFolder folder;
  write_file(folder / "empty", "");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
}

TEST(MappedFile, MovesWithoutLosingOrFreeingTheMapping) {
  const TemporaryFolder folder;
  write_file(folder / "a", "first");
  write_file(folder / "b", "second");
  MappedFile a(folder / "a");
  MappedFile moved(std::move(a));
  EXPECT_EQ(text_of(moved), "first");
  moved = MappedFile(folder / "b");
  EXPECT_EQ(text_of(moved), "second");
  EXPECT_EQ(moved.path(), folder / "b");
}

TEST(MappedFile, AMissingFileIsNoInputWithTheReason) {
  const TemporaryFolder folder;
  const std::string message = error_of(ErrorKind::no_input, [&] { MappedFile(folder / "absent.txt"); });
  EXPECT_THAT(message, AllOf(HasSubstr("absent.txt"), HasSubstr("No such file or directory")));
}

TEST(MappedFile, AFolderIsNoInput) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { MappedFile(folder.path()); }), HasSubstr("is a folder"));
}

TEST(MappedFile, APipeIsRefusedWithoutWaitingForAWriter) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { MappedFile(folder / "pipe"); }), HasSubstr("pipe or a device"));
  EXPECT_THAT(error_of(ErrorKind::no_input, [] { MappedFile("/dev/null"); }), HasSubstr("pipe or a device"));
}

TEST(MappedFile, AnUnreadableFileIsNoInputWithTheReason) {
  const TemporaryFolder folder;
  write_file(folder / "secret", "x");
  ASSERT_EQ(::chmod((folder / "secret").c_str(), 0), 0);
  // Root reads everything, so become nobody for a moment.
  const bool root = ::geteuid() == 0;
  if (root && ::seteuid(65534) != 0) GTEST_SKIP() << "cannot give up root's rights";
  const std::string message = error_of(ErrorKind::no_input, [&] { MappedFile(folder / "secret"); });
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_THAT(message, HasSubstr("Permission denied"));
}

}  // namespace
}  // namespace accrue::train

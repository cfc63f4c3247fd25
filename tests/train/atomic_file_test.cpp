#include "train/atomic_file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using accrue::testing::read_file;
using accrue::testing::TemporaryFolder;
using accrue::testing::write_file;
using ::testing::HasSubstr;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(AtomicFile, ReplacesTheFileOnlyAtCommit) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  AtomicFile file(folder / "file");
  file.write(bytes_of("new "));
  file.write(bytes_of("content"));
  EXPECT_EQ(read_file(folder / "file"), "old");
  file.commit();
  EXPECT_EQ(read_file(folder / "file"), "new content");
  EXPECT_FALSE(std::filesystem::exists(folder / "file.tmp"));
  error_of(ErrorKind::internal, [&] { file.commit(); });
  error_of(ErrorKind::internal, [&] { file.write(bytes_of("x")); });
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  { AtomicFile(folder / "file").write(bytes_of("new")); }
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_FALSE(std::filesystem::exists(folder / "file.tmp"));
}

TEST(AtomicFile, ALeftoverOfAKilledRunIsOverwritten) {
  const TemporaryFolder folder;
  write_file(folder / "file.tmp", "a longer leftover");
  AtomicFile file(folder / "file");
  file.write(bytes_of("new"));
  file.commit();
  EXPECT_EQ(read_file(folder / "file"), "new");
}

TEST(AtomicFile, AMissingFolderCannotCreate) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { AtomicFile(folder / "absent/file"); }),
              HasSubstr("No such file or directory"));
}

TEST(AtomicFile, AFullDiskIsAnIoErrorThatLeavesTheOldFile) {
  const TemporaryFolder folder;
  write_file(folder / "file", "old");
  // Every write to /dev/full fails with ENOSPC.
  std::filesystem::create_symlink("/dev/full", folder / "file.tmp");
  EXPECT_THAT(error_of(ErrorKind::io, [&] { AtomicFile(folder / "file").write(bytes_of("new")); }),
              HasSubstr("No space left on device"));
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_FALSE(std::filesystem::is_symlink(folder / "file.tmp"));
}

TEST(AtomicFile, AShortWriteIsContinuedUntilItsErrorShows) {
  const TemporaryFolder folder;
  // The limit makes the first write short, the second one fail with EFBIG.
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {.rlim_cur = 100, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  const std::string content(1000, 'x');
  std::string message;
  {
    AtomicFile file(folder / "file");
    message = error_of(ErrorKind::io, [&] { file.write(bytes_of(content)); });
    EXPECT_EQ(std::filesystem::file_size(folder / "file.tmp"), 100u);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, old_handler);
  EXPECT_THAT(message, HasSubstr("File too large"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(AtomicFile, ARenameThatFailsIsAnIoErrorAndLeavesNoTemporary) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "file/occupied");
  AtomicFile file(folder / "file");
  EXPECT_THAT(error_of(ErrorKind::io, [&] { file.commit(); }), HasSubstr("replaced by its new version"));
}

std::atomic<int> interruptions = 0;

TEST(WriteAll, SurvivesInterruptionsAndShortWritesOfASlowPipe) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  struct sigaction action = {}, old_action = {};
  action.sa_handler = [](int) { ++interruptions; };  // without SA_RESTART: a blocked write returns early
  ASSERT_EQ(::sigaction(SIGALRM, &action, &old_action), 0);

  std::string received;
  std::thread reader([&] {
    sigset_t alarm;
    ::sigemptyset(&alarm);
    ::sigaddset(&alarm, SIGALRM);
    ::pthread_sigmask(SIG_BLOCK, &alarm, nullptr);  // the writer is to be interrupted, not the reader
    std::vector<char> buffer(20000);
    for (;;) {
      const ssize_t count = ::read(ends[0], buffer.data(), buffer.size());
      if (count <= 0) break;
      received.append(buffer.data(), static_cast<std::size_t>(count));
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
  });
  const itimerval every_millisecond = {.it_interval = {0, 1000}, .it_value = {0, 1000}};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &every_millisecond, nullptr), 0);
  std::string content(1 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 13);
  write_all(ends[1], bytes_of(content), "pipe");
  const itimerval stop = {};
  ::setitimer(ITIMER_REAL, &stop, nullptr);
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  ::sigaction(SIGALRM, &old_action, nullptr);
  EXPECT_GT(interruptions, 0);
  EXPECT_TRUE(received == content);
}

}  // namespace
}  // namespace accrue::train

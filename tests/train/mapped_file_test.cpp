#include "train/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <csignal>
#include <span>
#include <thread>
#include <vector>

#include "tests/train/files.h"
#include "train/checksum.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
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

class ShrinkingFile : public ::testing::Test {
 protected:
  static std::size_t page() { return static_cast<std::size_t>(sysconf(_SC_PAGESIZE)); }
  fs::path file_of(const char* name, std::size_t size, char byte = 'x') const {
    write_file(folder / name, std::string(size, byte));
    return folder / name;
  }
  // Whose time differs from that of whatever is written to it now, however coarse the system's clock is.
  fs::path old_file_of(const char* name, std::size_t size) const {
    const fs::path path = file_of(name, size);
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1));
    return path;
  }
  static std::size_t count(const MappedFile& file, char byte) {
    return static_cast<std::size_t>(std::count(file.bytes().begin(), file.bytes().end(), byte));
  }
  static std::string damage_of(const MappedFile& file) {
    return error_of(ErrorKind::bad_data, [&] { require_intact(file.bytes()); });
  }

  TemporaryFolder folder;
};

TEST_F(ShrinkingFile, ReadsAsZerosWhereNothingIsLeftAndIsAnError) {
  const MappedFile file(file_of("file", 5 * page()));
  require_intact(file.bytes());
  fs::resize_file(file.path(), page());
  EXPECT_EQ(count(file, 'x'), page());
  EXPECT_EQ(count(file, '\0'), 4 * page());
  EXPECT_THAT(damage_of(file), AllOf(HasSubstr(file.path().string()), HasSubstr("truncated"), HasSubstr("disk failed"),
                                     HasSubstr("put the file back as it was")));
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { require_intact(file.bytes().last(1)); }), HasSubstr("truncated"));
}

TEST_F(ShrinkingFile, IsAnErrorAlsoWithinAPageWhereNoSignalTellsOfIt) {
  const MappedFile file(file_of("file", page() + 100));
  fs::resize_file(file.path(), page() + 99);
  EXPECT_EQ(count(file, '\0'), 1u);
  EXPECT_THAT(damage_of(file), HasSubstr("truncated"));
}

TEST_F(ShrinkingFile, StaysDamagedWhenItGrowsAgain) {
  const MappedFile file(file_of("file", 2 * page()));
  fs::resize_file(file.path(), 0);
  EXPECT_EQ(count(file, '\0'), 2 * page());
  file_of("file", 2 * page());
  EXPECT_EQ(count(file, '\0'), 2 * page());
  EXPECT_THAT(damage_of(file), HasSubstr("truncated"));
}

// As `cp` over it does: no reader has met the moment in which it was short.
TEST_F(ShrinkingFile, ThatWasWrittenAnewInTheMeantimeIsAnError) {
  for (const std::size_t size : {page(), 2 * page()}) {
    const MappedFile file(old_file_of("file", page()));
    remember_content(file.bytes(), checksum64(file.bytes(), 0));
    file_of("file", size, 'y');
    EXPECT_EQ(count(file, 'y'), page());
    EXPECT_THAT(damage_of(file), HasSubstr("written to"));
    EXPECT_THAT(damage_of(file), HasSubstr("written to")) << "for good";
  }
}

TEST_F(ShrinkingFile, OfWhichOnlyTheTimeOrTheSizeHasChangedIsIntactWhereItsContentIsRemembered) {
  for (const bool remembered : {true, false}) {
    const MappedFile file(old_file_of("file", page()));
    if (remembered) remember_content(file.bytes(), checksum64(file.bytes(), 0));
    require_intact(file.bytes());
    const auto expect_as_remembered = [&] {
      if (remembered)
        require_intact(file.bytes());
      else
        EXPECT_THAT(damage_of(file), HasSubstr("written to"));
    };
    fs::last_write_time(file.path(), fs::file_time_type::clock::now() - std::chrono::minutes(1));
    expect_as_remembered();
    fs::resize_file(file.path(), 3 * page());
    EXPECT_EQ(count(file, 'x'), page());
    expect_as_remembered();
  }
}

TEST_F(ShrinkingFile, DamagesNoOther) {
  const MappedFile before(file_of("before", 3 * page(), 'a')), file(file_of("file", 3 * page(), 'b')),
      after(file_of("after", 3 * page(), 'c'));
  fs::resize_file(file.path(), 0);
  EXPECT_EQ(count(file, '\0'), 3 * page());
  EXPECT_EQ(count(before, 'a'), 3 * page());
  EXPECT_EQ(count(after, 'c'), 3 * page());
  require_intact(before.bytes());
  require_intact(after.bytes());
  EXPECT_THAT(damage_of(file), HasSubstr(file.path().string()));
  fs::resize_file(after.path(), 0);
  EXPECT_EQ(count(after, '\0'), 3 * page());
  EXPECT_THAT(damage_of(after), HasSubstr(after.path().string()));
  require_intact(before.bytes());
}

TEST_F(ShrinkingFile, IsNoDangerToThreadsThatReadItAtOnce) {
  constexpr std::size_t pages = 64;
  for (int round = 0; round < 20; ++round) {
    const MappedFile file(file_of("file", pages * page()));
    fs::resize_file(file.path(), 0);
    std::array<std::size_t, 8> zeros{};
    std::array<bool, 8> damaged{};
    std::barrier start(8);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        start.arrive_and_wait();
        // Each from another page on, so that one thread's pages are replaced while others read theirs.
        for (std::size_t i = 0; i < pages; ++i) zeros[t] += file.bytes()[(i + t * 8) % pages * page()] == 0;
        try {
          require_intact(file.bytes());
        } catch (const Error&) {
          damaged[t] = true;
        }
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(zeros, ::testing::Each(pages));
    EXPECT_THAT(damaged, ::testing::Each(true));
  }
}

TEST_F(ShrinkingFile, IsGuardedWhereverItWasMovedTo) {
  MappedFile first(file_of("file", 2 * page()));
  MappedFile file(std::move(first));
  first = MappedFile(file_of("other", 2 * page()));
  fs::resize_file(file.path(), 0);
  EXPECT_EQ(count(file, '\0'), 2 * page());
  EXPECT_THAT(damage_of(file), HasSubstr("file: was"));
  file = std::move(first);
  EXPECT_EQ(count(file, 'x'), 2 * page());
  require_intact(file.bytes());
}

TEST_F(ShrinkingFile, LeavesNothingBehindForTheNext) {
  for (int i = 0; i < 3 * most_guarded_mappings; ++i) {
    const MappedFile file(file_of("file", page()));
    require_intact(file.bytes());
    fs::resize_file(file.path(), 0);
    EXPECT_EQ(count(file, '\0'), page());
    EXPECT_THAT(damage_of(file), HasSubstr("truncated"));
  }
}

TEST_F(ShrinkingFile, IsReadIntoMemoryWhereMoreAreMappedThanCanBeGuarded) {
  std::vector<MappedFile> files;
  for (int i = 0; i < most_guarded_mappings + 5; ++i)
    files.emplace_back(file_of(std::to_string(i).c_str(), 2 * page(), static_cast<char>(i + 1)));
  for (int i = 0; i < most_guarded_mappings + 5; ++i) {
    MappedFile& file = files[static_cast<std::size_t>(i)];
    fs::resize_file(file.path(), 0);
    const bool guarded = i < most_guarded_mappings;
    EXPECT_EQ(count(file, static_cast<char>(i + 1)), guarded ? 0 : 2 * page()) << i;
    if (guarded)
      EXPECT_THAT(damage_of(file), HasSubstr("truncated")) << i;
    else
      require_intact(file.bytes());
  }
  MappedFile last = std::move(files.back());
  EXPECT_EQ(count(last, static_cast<char>(most_guarded_mappings + 5)), 2 * page());
}

TEST_F(ShrinkingFile, IsTheErrorRatherThanWhatAReaderMadeOfTheZeros) {
  const MappedFile file(file_of("file", 2 * page()));
  EXPECT_EQ(file.read_intact([](auto bytes) { return bytes.size(); }), 2 * page());
  const auto read = [&](bool accepts) {
    return error_of(ErrorKind::bad_data, [&] {
      file.read_intact([&](auto bytes) {
        if (bytes.back() == 'x') fs::resize_file(file.path(), page());
        if (!accepts && bytes.back() == '\0') fail(ErrorKind::internal, "a zero");
        return bytes.back();
      });
    });
  };
  EXPECT_THAT(read(true), HasSubstr("truncated"));
  EXPECT_THAT(read(false), HasSubstr("truncated"));
}

TEST_F(ShrinkingFile, BytesOfNoFileAreIntact) {
  const std::vector<std::uint8_t> bytes(10);
  require_intact(bytes);
  require_intact(std::as_bytes(std::span(bytes)));
  require_intact(std::span<const std::uint8_t>());
}

// A file's mapping that Accrue knows nothing of, with nothing behind it any more.
char* foreign_mapping(const fs::path& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const address = mmap(nullptr, 1, PROT_READ, MAP_PRIVATE, file.get(), 0);
  fs::resize_file(path, 0);
  return static_cast<char*>(address);
}

// In a process of its own, as the handler before Accrue's is that at the first mapping.
class OtherBusErrors : public ShrinkingFile {
 protected:
  OtherBusErrors() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(OtherBusErrors, EndTheProcessAsBefore) {
  EXPECT_DEATH(
      {
        std::signal(SIGBUS, SIG_DFL);
        const MappedFile file(file_of("file", page()));
        static_cast<void>(*static_cast<volatile char*>(foreign_mapping(file_of("foreign", page()))));
      },
      "");
  EXPECT_EXIT(
      {
        std::signal(SIGBUS, SIG_DFL);
        const MappedFile file(file_of("file", page()));
        std::raise(SIGBUS);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

TEST_F(OtherBusErrors, GoToTheHandlerOfBefore) {
  const auto with_handler = [&](auto&& install) {
    install();
    const MappedFile file(file_of("file", page()));
    static_cast<void>(*static_cast<volatile char*>(foreign_mapping(file_of("foreign", page()))));
  };
  EXPECT_EXIT(with_handler([] { std::signal(SIGBUS, [](int signal) { _exit(signal == SIGBUS ? 42 : 1); }); }),
              ::testing::ExitedWithCode(42), "");
  EXPECT_EXIT(with_handler([] {
                struct sigaction action = {};
                action.sa_flags = SA_SIGINFO;
                action.sa_sigaction = [](int, siginfo_t* info, void*) { _exit(info->si_code == BUS_ADRERR ? 43 : 1); };
                sigaction(SIGBUS, &action, nullptr);
              }),
              ::testing::ExitedWithCode(43), "");
}

TEST_F(OtherBusErrors, ThatAreIgnoredStayIgnoredUnlessTheyCannotBe) {
  EXPECT_EXIT(
      {
        std::signal(SIGBUS, SIG_IGN);
        const MappedFile file(file_of("file", page()));
        std::raise(SIGBUS);
        fs::resize_file(file.path(), 0);
        _exit(count(file, '\0') == page() ? 44 : 1);
      },
      ::testing::ExitedWithCode(44), "");
  EXPECT_DEATH(
      {
        std::signal(SIGBUS, SIG_IGN);
        const MappedFile file(file_of("file", page()));
        static_cast<void>(*static_cast<volatile char*>(foreign_mapping(file_of("foreign", page()))));
      },
      "");
}

}  // namespace
}  // namespace accrue::train

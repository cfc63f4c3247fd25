// The injector itself: what it counts, and that each fault happens to the call it was meant for and to no other.
#include "tests/faults/io_faults.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "tests/faults/recording.h"
#include "tests/train/files.h"

namespace accrue::testing::faults {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::KilledBySignal;

// A call of the C library that succeeds in a folder prepared for it, and what it returns when it does not.
struct Function {
  std::string name;
  Calls kind;
  std::function<long()> call;
  bool can_be_interrupted = false, needs_space = false;
};

// A folder with the files "file" (and links and folders), in which each function can be called once.
class IoFaults : public ::testing::Test {
 protected:
  IoFaults() {
    write_file(folder / "file", "0123456789");
    fs::create_symlink("file", folder / "link");
    fs::create_directory(folder / "empty");
    writing = ::open(path("file").c_str(), O_RDWR);
    looking = ::open(path("file").c_str(), O_RDONLY);
    directory = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
  }
  ~IoFaults() override {
    for (const int fd : {writing, looking, directory}) ::close(fd);
  }
  std::string path(std::string_view name) const { return (folder / name).string(); }
  std::string root() const { return folder.path().string(); }
  Plan plan(Action action, long at = 1, int error = EIO) const {
    return {.folder = root(), .calls = changing | reading, .action = action, .at = at, .error = error};
  }
  template <class Call>
  std::vector<Site> recorded(Call&& call) const {
    return record(root(), changing | reading, call);
  }

  // One call of each function, all of which leave "file" with 10 bytes.
  std::vector<Function> functions() {
    return {
        {"open", changing, [this] { return opened(::open(path("new").c_str(), O_WRONLY | O_CREAT, 0600)); }, true,
         true},
        {"open", changing, [this] { return opened(::open64(path("file").c_str(), O_RDWR)); }, true},
        {"open", reading, [this] { return opened(::open(path("file").c_str(), O_RDONLY)); }, true},
        {"openat", reading, [this] { return opened(::openat(directory, "file", O_RDONLY)); }, true},
        {"openat", changing, [this] { return opened(::openat64(directory, "new", O_WRONLY | O_CREAT, 0600)); }, true,
         true},
        {"fopen", changing, [this] { return streamed(std::fopen(path("new").c_str(), "w")); }, false, true},
        {"fopen", reading, [this] { return streamed(::fopen64(path("file").c_str(), "r")); }},
        {"write", changing, [this] { return ::write(writing, "ab", 2); }, true, true},
        {"pwrite", changing, [this] { return ::pwrite(writing, "ab", 2, 0); }, true, true},
        {"pwrite", changing, [this] { return ::pwrite64(writing, "ab", 2, 0); }, true, true},
        {"writev", changing,
         [this] {
           const iovec parts[] = {{.iov_base = text, .iov_len = 2}, {.iov_base = text, .iov_len = 2}};
           return ::writev(writing, parts, 2);
         },
         true, true},
        {"fsync", changing, [this] { return ::fsync(writing); }, true, true},
        {"fdatasync", changing, [this] { return ::fdatasync(writing); }, true, true},
        {"ftruncate", changing, [this] { return ::ftruncate(writing, 10); }},
        {"ftruncate", changing, [this] { return ::ftruncate64(writing, 10); }},
        {"rename", changing, [this] { return ::rename(path("link").c_str(), path("other").c_str()); }},
        {"renameat", changing, [this] { return ::renameat(directory, "link", directory, "other"); }},
        {"renameat2", changing,
         [this] { return ::renameat2(directory, "link", directory, "other", RENAME_NOREPLACE); }},
        {"symlink", changing, [this] { return ::symlink("file", path("new").c_str()); }, false, true},
        {"symlinkat", changing, [this] { return ::symlinkat("file", directory, "new"); }, false, true},
        {"mkdir", changing, [this] { return ::mkdir(path("new").c_str(), 0700); }, false, true},
        {"mkdirat", changing, [this] { return ::mkdirat(directory, "new", 0700); }, false, true},
        {"unlink", changing, [this] { return ::unlink(path("link").c_str()); }},
        {"unlinkat", changing, [this] { return ::unlinkat(directory, "link", 0); }},
        {"remove", changing, [this] { return std::remove(path("link").c_str()); }},
        {"rmdir", changing, [this] { return ::rmdir(path("empty").c_str()); }},
        {"read", reading, [this] { return ::read(looking, text, 4); }, true},
        {"pread", reading, [this] { return ::pread(looking, text, 4, 0); }, true},
        {"pread", reading, [this] { return ::pread64(looking, text, 4, 0); }, true},
        {"mmap", reading, [this] { return mapped(::mmap(nullptr, 10, PROT_READ, MAP_PRIVATE, looking, 0)); }},
        {"mmap", reading, [this] { return mapped(::mmap64(nullptr, 10, PROT_READ, MAP_PRIVATE, looking, 0)); }},
        {"fstat", reading, [this] { return ::fstat(looking, &info); }},
        {"fstat", reading, [this] { return ::fstat64(looking, &info64); }},
        {"stat", reading, [this] { return ::stat(path("file").c_str(), &info); }},
        {"lstat", reading, [this] { return ::lstat(path("file").c_str(), &info); }},
        {"readlink", reading, [this] { return ::readlink(path("link").c_str(), text, 4); }},
        {"opendir", reading, [this] { return listed(::opendir(root().c_str())); }},
    };
  }

  // What a call has opened is remembered and closed when nothing is counted any more.
  long opened(int fd) {
    if (fd >= 0) later.emplace_back([fd] { ::close(fd); });
    return fd;
  }
  long streamed(std::FILE* file) {
    if (file != nullptr) later.emplace_back([file] { std::fclose(file); });
    return file == nullptr ? -1 : 0;
  }
  long listed(DIR* list) {
    if (list != nullptr) later.emplace_back([list] { ::closedir(list); });
    return list == nullptr ? -1 : 0;
  }
  long mapped(void* address) {
    if (address != MAP_FAILED) later.emplace_back([address] { ::munmap(address, 10); });
    return address == MAP_FAILED ? -1 : 0;
  }
  // Closes what was opened and removes what was made, so that the next function finds the folder as the first did.
  void tidy() {
    for (const auto& close_it : later) close_it();
    later.clear();
    std::error_code ignored;
    for (const char* name : {"new", "other"}) fs::remove(folder / name, ignored);
    if (!fs::is_symlink(folder / "link")) fs::create_symlink("file", folder / "link");
    fs::create_directory(folder / "empty", ignored);
    ::lseek(writing, 0, SEEK_SET);
    ::lseek(looking, 0, SEEK_SET);
  }
  std::vector<std::string> content() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.path()))
      names.push_back(entry.path().filename().string() + (entry.is_symlink() ? " ->" : ""));
    std::sort(names.begin(), names.end());
    names.push_back(read_file(folder / "file"));
    return names;
  }

  TemporaryFolder folder;
  int writing = -1, looking = -1, directory = -1;
  char text[16] = "abcd";
  struct stat info = {};
  struct stat64 info64 = {};
  std::vector<std::function<void()>> later;
};

TEST_F(IoFaults, EachFunctionIsCountedOnceAndUnderItsName) {
  for (const Function& function : functions()) {
    SCOPED_TRACE(function.name);
    long status = -1;
    const auto call = [&] { status = function.call(); };
    EXPECT_THAT(names_of(recorded(call)), ElementsAre(function.name));
    EXPECT_GE(status, 0) << std::strerror(errno);
    tidy();
    EXPECT_THAT(names_of(record(root(), function.kind, call)), ElementsAre(function.name));
    tidy();
    EXPECT_THAT(record(root(), (changing | reading) & ~static_cast<unsigned>(function.kind), call), IsEmpty());
    tidy();
  }
}

TEST_F(IoFaults, AFailingCallReportsTheErrorAndChangesNothing) {
  const std::vector<std::string> before = content();
  for (const Function& function : functions()) {
    SCOPED_TRACE(function.name);
    long status = 0;
    int error = 0;
    const Tally tally = with_faults(plan(Action::fail, 1, ENOSPC), [&] {
      errno = 0;
      status = function.call();
      error = errno;
    });
    EXPECT_LT(status, 0);
    EXPECT_EQ(error, ENOSPC);
    EXPECT_TRUE(tally.fired);
    EXPECT_EQ(tally.calls, 1);
    EXPECT_EQ(content(), before);
    tidy();
  }
}

TEST_F(IoFaults, OnlyCallsThatLinuxInterruptsAreInterruptedAndOnlyOnce) {
  for (const Function& function : functions()) {
    SCOPED_TRACE(function.name);
    long status = 0;
    const Tally tally = with_faults(plan(Action::interrupt), [&] {
      status = function.call();
      if (!function.can_be_interrupted) return;
      EXPECT_LT(status, 0);
      EXPECT_EQ(errno, EINTR);
      status = function.call();
    });
    EXPECT_GE(status, 0);
    EXPECT_EQ(tally.fired, function.can_be_interrupted);
    tidy();
  }
}

TEST_F(IoFaults, OnAFullDiskWhatNeedsNoSpaceGoesOn) {
  for (const Function& function : functions()) {
    SCOPED_TRACE(function.name);
    with_faults(plan(Action::fail_from, 1, ENOSPC), [&] { EXPECT_EQ(function.call() < 0, function.needs_space); });
    tidy();
  }
  with_faults(plan(Action::fail_from, 2, ENOSPC), [&] {
    EXPECT_EQ(::write(writing, "a", 1), 1);
    EXPECT_LT(::write(writing, "a", 1), 0);
    EXPECT_EQ(::close(::open(path("file").c_str(), O_WRONLY)), 0);
    EXPECT_LT(::write(writing, "a", 1), 0);
  });
}

TEST_F(IoFaults, ABrokenDiskRefusesEverything) {
  for (const Function& function : functions()) {
    SCOPED_TRACE(function.name);
    with_faults(plan(Action::fail_from, 1, EIO), [&] {
      EXPECT_LT(function.call(), 0);
      EXPECT_LT(function.call(), 0);
    });
    tidy();
  }
}

TEST_F(IoFaults, TheNthCallAloneFails) {
  for (long n = 1; n <= 4; ++n) {
    std::vector<bool> failed;
    const Tally tally = with_faults(plan(Action::fail, n), [&] {
      for (int i = 0; i < 3; ++i) failed.push_back(::fsync(writing) < 0);
    });
    EXPECT_EQ(failed, (std::vector<bool>{n == 1, n == 2, n == 3}));
    EXPECT_EQ(tally.fired, n <= 3);
    EXPECT_EQ(tally.calls, 3);
  }
}

TEST_F(IoFaults, AShortWriteOrReadMovesHalf) {
  std::vector<long> moved;
  const auto shortened = [&](auto call) {
    with_faults(plan(Action::shorten), [&] { moved.push_back(call()); });
    ::lseek(writing, 0, SEEK_SET);
  };
  const iovec parts[] = {{.iov_base = text, .iov_len = 4}, {.iov_base = text, .iov_len = 4}};
  shortened([&] { return ::write(writing, "abcd", 4); });
  shortened([&] { return ::write(writing, "a", 1); });
  shortened([&] { return ::pwrite(writing, "abcde", 5, 0); });
  shortened([&] { return ::writev(writing, parts, 2); });
  shortened([&] { return ::read(looking, text, 4); });
  shortened([&] { return ::pread(looking, text, 4, 0); });
  EXPECT_THAT(moved, ElementsAre(2, 1, 3, 2, 2, 2));
  EXPECT_FALSE(with_faults(plan(Action::shorten), [&] { ::fsync(writing); }).fired);
}

TEST_F(IoFaults, ACloseThatFailsHasClosed) {
  for (const Action action : {Action::fail, Action::interrupt}) {
    const int fd = ::open(path("file").c_str(), O_WRONLY);
    with_faults(plan(action), [&] { EXPECT_LT(::close(fd), 0); });
    EXPECT_LT(::fcntl(fd, F_GETFD), 0);
    EXPECT_EQ(errno, EBADF);
  }
  std::FILE* const file = std::fopen(path("new").c_str(), "w");
  const int fd = fileno(file);
  with_faults(plan(Action::fail), [&] { EXPECT_EQ(std::fclose(file), EOF); });
  EXPECT_LT(::fcntl(fd, F_GETFD), 0);
}

TEST_F(IoFaults, AListingThatFailsEndsWithAnError) {
  DIR* const list = ::opendir(root().c_str());
  int error = 0;
  with_faults(plan(Action::fail, 2), [&] {
    EXPECT_NE(::readdir(list), nullptr);
    errno = 0;
    EXPECT_EQ(::readdir(list), nullptr);
    error = errno;
    EXPECT_NE(::readdir(list), nullptr);
  });
  EXPECT_EQ(error, EIO);
  ::closedir(list);
}

TEST_F(IoFaults, KillsBeforeWithinAndAfterTheCall) {
  const auto dies = [&](Action action, const std::string& expected) {
    ::lseek(writing, 0, SEEK_SET);
    EXPECT_EXIT(with_faults(plan(action, 2),
                            [&] {
                              ::fsync(writing);
                              ::write(writing, "abcd", 4);
                              ::write(writing, "xxxx", 4);
                            }),
                KilledBySignal(SIGKILL), "");
    EXPECT_EQ(read_file(folder / "file"), expected);
  };
  dies(Action::kill_before, "0123456789");
  dies(Action::kill_within, "ab23456789");
  dies(Action::kill_after, "abcd456789");
  // Nothing of another call is made when it dies within it.
  EXPECT_EXIT(with_faults(plan(Action::kill_within), [&] { ::unlink(path("file").c_str()); }), KilledBySignal(SIGKILL),
              "");
  EXPECT_TRUE(fs::exists(folder / "file"));
  EXPECT_EXIT(with_faults(plan(Action::kill_after), [&] { ::unlink(path("file").c_str()); }), KilledBySignal(SIGKILL),
              "");
  EXPECT_FALSE(fs::exists(folder / "file"));
}

TEST_F(IoFaults, OfAChosenFunctionAndPathAloneTheCallsAreCounted) {
  const auto chosen = [&](const std::string& only) {
    return with_faults({.folder = root(), .only = only},
                       [&] {
                         ::fsync(writing);
                         ::symlink("file", path("empty/new").c_str());
                         ::rename(path("empty/new").c_str(), path("empty/other").c_str());
                         ::unlink(path("empty/other").c_str());
                         ::fsync(directory);
                       })
        .calls;
  };
  EXPECT_EQ(chosen(""), 5);
  EXPECT_EQ(chosen("fsync file"), 1);
  EXPECT_EQ(chosen("fsync "), 1);
  EXPECT_EQ(chosen("rename empty/n*"), 1);
  EXPECT_EQ(chosen("rename empty/o*"), 0);
  EXPECT_EQ(chosen("rename *"), 0);
  EXPECT_EQ(chosen("fsyn file"), 0);
}

TEST_F(IoFaults, WhatIsOutsideOfTheFolderDoesNotCount) {
  const TemporaryFolder other;
  fs::create_directory(root() + "2");
  int pipes[2] = {};
  ASSERT_EQ(::pipe(pipes), 0);
  EXPECT_THAT(recorded([&] {
                write_file(other / "file", "content");
                write_file(root() + "2/file", "a name that begins alike");
                fs::rename(other / "file", other / "moved");
                ::write(pipes[1], "x", 1);
                ::fsync(-1);
                ::close(-1);
                errno = 0;
              }),
              IsEmpty());
  for (const int fd : pipes) ::close(fd);
  fs::remove_all(root() + "2");
}

TEST_F(IoFaults, APathCountsHoweverItIsWritten) {
  const fs::path here = fs::current_path();
  const TemporaryFolder other;
  fs::create_symlink(folder.path(), other / "alias");
  fs::current_path(folder.path());
  const auto looked_at = [&](const std::string& name) { return recorded([&] { ::stat(name.c_str(), &info); }).size(); };
  EXPECT_EQ(looked_at("file"), 1u);
  EXPECT_EQ(looked_at("./empty/../file"), 1u);
  EXPECT_EQ(looked_at(root() + "//./file"), 1u);
  EXPECT_EQ(looked_at(root()), 1u);
  EXPECT_EQ(looked_at(".."), 0u);
  EXPECT_EQ(looked_at("../nowhere/file"), 0u);
  // A folder that is given by a link is also the one behind it: open files are known by that.
  EXPECT_THAT(record((other / "alias").string(), changing, [&] { write_file(other / "alias/new", "abc"); }),
              ::testing::SizeIs(::testing::Ge(3u)));
  fs::current_path(here);
}

TEST_F(IoFaults, StreamsAndFilesystemCallsOfTheStandardLibraryAreSeen) {
  EXPECT_THAT(names_of(record(root(), changing, [&] { write_file(folder / "new", "abc"); })),
              ElementsAre("fopen", "write", "fclose"));
  EXPECT_THAT(names_of(record(root(), changing, [&] { fs::create_directories(folder / "a/b"); })),
              ElementsAre("mkdir", "mkdir"));
  EXPECT_THAT(names_of(record(root(), changing, [&] { fs::rename(folder / "a", folder / "c"); })),
              ElementsAre("rename"));
  EXPECT_THAT(names_of(record(root(), changing, [&] { fs::create_symlink("c", folder / "d"); })),
              ElementsAre("symlink"));
  EXPECT_THAT(names_of(record(root(), changing, [&] { fs::remove_all(folder / "c"); })),
              ElementsAre("unlinkat", "remove"));
  EXPECT_THAT(names_of(record(root(), changing, [&] { fs::remove(folder / "d"); })), ElementsAre("remove"));
  std::error_code error;
  with_faults(plan(Action::fail, 1, ENOSPC), [&] { fs::create_directory(folder / "e", error); });
  EXPECT_EQ(error, std::errc::no_space_on_device);
}

TEST_F(IoFaults, ErrnoIsThatOfTheCall) {
  recorded([&] {
    errno = 77;
    ::fsync(writing);
    EXPECT_EQ(errno, 77);
    ::stat(path("nowhere").c_str(), &info);
    EXPECT_EQ(errno, ENOENT);
  });
}

TEST_F(IoFaults, NothingIsCountedUnlessArmed) {
  recorded([&] { ::fsync(writing); });
  ::fsync(writing);
  EXPECT_EQ(disarm().calls, 1);
}

TEST(FaultPlan, IsReadFromText) {
  const auto parsed = [](const char* text) {
    Plan plan;
    EXPECT_TRUE(parse_action(text, plan)) << text;
    return std::tuple(plan.action, plan.at, plan.error);
  };
  EXPECT_EQ(parsed("kill-before@17"), std::tuple(Action::kill_before, 17, 0));
  EXPECT_EQ(parsed("kill-within@1"), std::tuple(Action::kill_within, 1, 0));
  EXPECT_EQ(parsed("kill-after@2"), std::tuple(Action::kill_after, 2, 0));
  EXPECT_EQ(parsed("fail@4:ENOSPC"), std::tuple(Action::fail, 4, ENOSPC));
  EXPECT_EQ(parsed("fail-from@5:EIO"), std::tuple(Action::fail_from, 5, EIO));
  EXPECT_EQ(parsed("short@6"), std::tuple(Action::shorten, 6, 0));
  EXPECT_EQ(parsed("eintr@7"), std::tuple(Action::interrupt, 7, 0));
  for (const char* text :
       {"", "kill", "kill@1", "fail@1", "fail@1:", "fail@1:EWHAT", "fail@:EIO", "fail:EIO", "short@0", "short@-1",
        "term@1", "short@x", "short@1x", "short@1:EIO", "fail@1x:EIO", "@1"}) {
    Plan plan;
    EXPECT_FALSE(parse_action(text, plan)) << text;
  }
}

TEST(FaultPlan, TheCallsAreReadFromText) {
  Plan plan;
  EXPECT_TRUE(parse_calls("reading", plan));
  EXPECT_EQ(plan.calls, unsigned{reading});
  EXPECT_TRUE(parse_calls("changing,products", plan));
  EXPECT_EQ(plan.calls, changing | products);
  for (const char* text : {"", "writing", "changing,", "changing;reading", ",changing"})
    EXPECT_FALSE(parse_calls(text, plan)) << text;
}

TEST(FaultPaths, LoseTheirDots) {
  const auto normalised = [](std::string path) {
    normalise(path.data());
    return std::string(path.c_str());
  };
  EXPECT_EQ(normalised("/a/b"), "/a/b");
  EXPECT_EQ(normalised("//a///b/"), "/a/b");
  EXPECT_EQ(normalised("/a/./b/."), "/a/b");
  EXPECT_EQ(normalised("/a/../b/c/.."), "/b");
  EXPECT_EQ(normalised("/../.."), "/");
  EXPECT_EQ(normalised("/a/..b/c..d"), "/a/..b/c..d");
}

TEST(FaultPaths, AreComparedWithPatterns) {
  EXPECT_TRUE(is_like("a/b", "a/b"));
  EXPECT_TRUE(is_like("a/update-12.1/b", "a/update-*/b"));
  EXPECT_TRUE(is_like("", "*"));
  EXPECT_TRUE(is_like("abcabc", "*abc"));
  EXPECT_FALSE(is_like("a/b", "*"));
  EXPECT_FALSE(is_like("a/b", "a/bc"));
  EXPECT_FALSE(is_like("a/bc", "a/b"));
}

}  // namespace
}  // namespace accrue::testing::faults

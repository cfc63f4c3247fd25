#include "train/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <array>
#include <span>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/lock_holder.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

std::string system_reason(int error) { return std::generic_category().message(error); }

class LockTaker {
 public:
  explicit LockTaker(const fs::path& run) : run_(run), path_(run / "lock"), self_(this_lock_holder()) {}

  FileDescriptor take();
  const std::string& note() const { return note_; }

 private:
  enum class Locked { yes, elsewhere_held, impossible };

  FileDescriptor open(const fs::path& path, int flags) const;
  FileDescriptor open_lock() const;
  ParsedLock read(int fd) const;
  static Locked try_lock(int fd);
  bool is_still_there(int fd) const;
  void require_nobody_else(int fd, Locked locked);
  FileDescriptor take_by_content();
  void leave_name(int fd) const;
  [[noreturn]] void refuse(const std::string& who, const std::string& since, const std::string& what_to_do) const;

  fs::path run_, path_;
  LockHolder self_;
  std::string note_;
};

FileDescriptor LockTaker::open(const fs::path& path, int flags) const {
  // Not through a link, which may lead to anybody's file; and without waiting for the other end of a pipe.
  const int all = flags | O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  FileDescriptor file(uninterrupted([&] { return ::open(path.c_str(), all, 0666); }));
  struct stat info = {};
  if (file && fstat(file.get(), &info) == 0 && !S_ISREG(info.st_mode))
    fail(ErrorKind::cannot_create, "{}: is not a file; move it away, or choose another --out", path.string());
  return file;
}

FileDescriptor LockTaker::open_lock() const {
  FileDescriptor file = open(path_, 0);
  if (!file) fail(ErrorKind::cannot_create, "{}: cannot be opened: {}", path_.string(), system_reason(errno));
  return file;
}

ParsedLock LockTaker::read(int fd) const {
  std::array<char, 1024> text;
  const ssize_t size = uninterrupted([&] { return pread(fd, text.data(), text.size(), 0); });
  if (size < 0) fail(ErrorKind::io, "{}: cannot be read: {}", path_.string(), system_reason(errno));
  return parse_lock({text.data(), static_cast<std::size_t>(size)});
}

LockTaker::Locked LockTaker::try_lock(int fd) {
  if (uninterrupted([&] { return flock(fd, LOCK_EX | LOCK_NB); }) == 0) return Locked::yes;
  return errno == EWOULDBLOCK ? Locked::elsewhere_held : Locked::impossible;
}

// A file that was removed or replaced between its opening and its locking keeps nobody out.
bool LockTaker::is_still_there(int fd) const {
  struct stat opened = {}, named = {};
  return fstat(fd, &opened) == 0 && lstat(path_.c_str(), &named) == 0 && opened.st_dev == named.st_dev &&
         opened.st_ino == named.st_ino;
}

void LockTaker::refuse(const std::string& who, const std::string& since, const std::string& what_to_do) const {
  fail(ErrorKind::cannot_create, "--out {}: {} is training there{}; {}", run_.string(), who,
       since.empty() ? "" : fmt::format(" (since {})", since), what_to_do);
}

// Whether a process that lives may have this file open, as who holds the lock has. It has not if the file is a copy of
// the one that it holds.
bool may_have_open(std::int64_t process, int fd) {
  struct stat wanted = {}, open = {};
  std::error_code unknown;
  const fs::directory_iterator files(fmt::format("/proc/{}/fd", process), unknown);
  if (unknown || fstat(fd, &wanted) != 0) return true;
  for (const fs::directory_entry& file : files)
    if (stat(file.path().c_str(), &open) == 0 && open.st_dev == wanted.st_dev && open.st_ino == wanted.st_ino)
      return true;
  return false;
}

void LockTaker::require_nobody_else(int fd, Locked locked) {
  const ParsedLock found = read(fd);
  if (found.content == LockContent::foreign)
    fail(ErrorKind::cannot_create, "{}: exists and is not the lock of a run; move it away, or choose another --out",
         path_.string());
  const bool named = found.content == LockContent::holder;
  const HolderState state = named ? state_of(found.holder, self_.host) : HolderState::gone;
  const std::string name = named ? name_of(found.holder, self_.host) : "another process";
  static constexpr char usual[] = "wait for it, stop it, or choose another --out";
  if (locked == Locked::elsewhere_held) {
    // Whoever locks the file may be about to write its line over that of one who is gone.
    const bool believable = named && state != HolderState::gone;
    refuse(believable ? name : "another process", believable ? found.holder.since : "", usual);
  }
  if (!named) return;
  if (state == HolderState::alive) {
    // This very process, where the system says that it holds no lock: it could not clear the line when it was done.
    if (locked == Locked::yes && found.holder.process == self_.process) return;
    if (locked == Locked::yes && !may_have_open(found.holder.process, fd)) return;
    // Another that lives has the directory even where the system did not let it lock the file.
    refuse(name, found.holder.since, usual);
  }
  if (state == HolderState::elsewhere && locked == Locked::impossible)
    refuse(name, found.holder.since,
           fmt::format("{}; if you are sure that it is gone, remove {} (this file system has no locks that would tell)",
                       usual, path_.string()));
  note_ = fmt::format("took over the lock of {}, which is gone", name);
}

// Without locks of the system's: who can create DIR/lock.next has the right to read DIR/lock, to decide, and to put its
// own file there by rename, which ends that right. So two processes never take it from the same one, and nobody ever
// reads half a line.
FileDescriptor LockTaker::take_by_content() {
  const fs::path next = path_.string() + ".next";
  FileDescriptor own = open(next, O_EXCL);
  if (!own && errno == EEXIST)
    fail(ErrorKind::cannot_create, "--out {}: another process is starting there; if none is, remove {} and start again",
         run_.string(), next.string());
  if (!own) fail(ErrorKind::cannot_create, "{}: cannot be created: {}", next.string(), system_reason(errno));
  try {
    require_nobody_else(open_lock().get(), Locked::impossible);
    write_all(own.get(), std::as_bytes(std::span<const char>(self_.to_line())), next);
    if (rename(next.c_str(), path_.c_str()) != 0)
      fail(ErrorKind::cannot_create, "{}: cannot be replaced: {}", path_.string(), system_reason(errno));
  } catch (...) {
    unlink(next.c_str());
    throw;
  }
  return own;
}

// The lock is the system's; a line that the disk does not take costs the next one no more than a name. First empty, so
// that the end of a longer line never stands behind a shorter one.
void LockTaker::leave_name(int fd) const {
  const std::string line = self_.to_line();
  if (ftruncate(fd, 0) != 0 || pwrite(fd, line.data(), line.size(), 0) < 0) return;
}

FileDescriptor LockTaker::take() {
  for (int attempt = 1;; ++attempt) {
    FileDescriptor file = open_lock();
    const Locked locked = try_lock(file.get());
    if (locked == Locked::impossible) return take_by_content();
    // More often than twice somebody does not remove it: then the file system numbers its files anew.
    if (locked == Locked::yes && attempt < 10 && !is_still_there(file.get())) continue;
    require_nobody_else(file.get(), locked);
    leave_name(file.get());
    return file;
  }
}

}  // namespace

RunLock::RunLock(const fs::path& run) : process_(getpid()) {
  LockTaker taker(run);
  file_ = taker.take();
  note_ = taker.note();
}

RunLock::~RunLock() {
  if (getpid() != process_) return;  // a copy in a child process, which has nothing to give back
  // First empty, then free, so that the next one finds no holder who is gone. Where the disk fails it only finds one.
  [[maybe_unused]] const int cleared = ftruncate(file_.get(), 0);
  // Not left to the closing: a child process may have the file open, too.
  flock(file_.get(), LOCK_UN);
}

}  // namespace accrue::train

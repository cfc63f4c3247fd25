#include "train/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "core/check.h"

namespace accrue::train {
namespace {

[[noreturn]] void fail_io(const std::filesystem::path& path, const char* action, int error) {
  fail(ErrorKind::io, "{}: cannot be {}: {}; free space or choose another folder, then run again", path.string(),
       action, std::generic_category().message(error));
}

template <class Call>
auto retry_interrupted(Call&& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// On Linux the descriptor is gone even when close() reports an interruption, so that it is not called again.
void close_written(int fd, const std::filesystem::path& path) {
  if (::close(fd) != 0 && errno != EINTR) fail_io(path, "closed", errno);
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (written < 0) fail_io(path, "written", errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void make_durable(const std::filesystem::path& path) {
  const int fd = retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
  // What may be written but not read cannot be opened to sync it; the writing itself has succeeded.
  if (fd < 0 && errno == EACCES) return;
  if (fd < 0) fail_io(path, "opened to make it durable", errno);
  const int status = retry_interrupted([&] { return ::fsync(fd); });
  const int error = errno;
  ::close(fd);
  // Some network file systems have no fsync of folders and say EINVAL.
  if (status != 0 && error != EINVAL) fail_io(path, "made durable", error);
}

void forget_cached(const std::filesystem::path& path) {
  const int fd = retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); });
  if (fd < 0) return;
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

NewFile::NewFile(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = retry_interrupted([&] { return ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (fd_ < 0)
    fail(ErrorKind::cannot_create, "{}: cannot be created: {}; check that its folder may be written and has free space",
         path_.string(), std::generic_category().message(errno));
}

NewFile::~NewFile() {
  if (fd_ >= 0) ::close(fd_);
}

void NewFile::write(std::span<const std::byte> bytes) { write_all(fd_, bytes, path_); }

void NewFile::finish() {
  if (retry_interrupted([&] { return ::fsync(fd_); }) != 0) fail_io(path_, "made durable", errno);
  close_written(std::exchange(fd_, -1), path_);
}

void write_text_atomically(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_(path_.string() + ".tmp") {
  // Truncates what a killed run left behind.
  fd_ = retry_interrupted([&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666); });
  if (fd_ < 0)
    fail(ErrorKind::cannot_create, "{}: cannot be created: {}; check that its folder exists and may be written",
         temporary_.string(), std::generic_category().message(errno));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!renamed_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  check(fd_ >= 0, "AtomicFile: {} is written after its commit", path_.string());
  write_all(fd_, bytes, temporary_);
}

void AtomicFile::commit() {
  check(fd_ >= 0, "AtomicFile: {} is committed twice", path_.string());
  if (retry_interrupted([&] { return ::fsync(fd_); }) != 0) fail_io(temporary_, "made durable", errno);
  close_written(std::exchange(fd_, -1), temporary_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_io(path_, "replaced by its new version", errno);
  renamed_ = true;
  make_durable(folder_of(path_));
}

}  // namespace accrue::train

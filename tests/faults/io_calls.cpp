// The C library's functions, each with the chance to fail. Definitions in a program, and in a shared object that is
// loaded first, come before those of the C library (and of the sanitizers, whose own are the next and are called from
// here).
//
// Calls that the C library makes inside of itself are not seen: fwrite's and fclose's of its buffers, say. Accrue
// writes with write(), and libstdc++'s streams do as well.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>

#include "tests/faults/io_faults.h"

using namespace accrue::testing::faults;

namespace {

// The definition that comes after ours. Found at the first call; two threads that both do so find the same.
template <class Function>
class Next {
 public:
  explicit constexpr Next(const char* name) : name_(name) {}
  template <class... Arguments>
  auto operator()(Arguments... arguments) {
    Function* address = address_.load(std::memory_order_relaxed);
    if (address == nullptr) {
      address = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name_));
      address_.store(address, std::memory_order_relaxed);
    }
    return address(arguments...);
  }

 private:
  const char* name_;
  std::atomic<Function*> address_ = nullptr;
};

bool opens_for_writing(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0; }
bool opens_for_writing(const char* mode) {
  return mode[0] != 'r' || mode[1] == '+' || (mode[1] != '\0' && mode[2] == '+');
}
Calls kind_of(bool writes) { return writes ? changing : reading; }
// Folders are not waited for.
unsigned opening(int flags) {
  return ((flags & O_CREAT) != 0 ? needs_space : 0u) | ((flags & O_DIRECTORY) != 0 ? 0u : interruptible);
}

mode_t mode_of(int flags, std::va_list arguments) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

#define MODE_OF(flags)                           \
  std::va_list arguments;                        \
  va_start(arguments, flags);                    \
  const mode_t mode = mode_of(flags, arguments); \
  va_end(arguments)

extern "C" {

// Opening and closing.

int open(const char* path, int flags, ...) {
  static constinit Next<int(const char*, int, ...)> next("open");
  MODE_OF(flags);
  const Call call(kind_of(opens_for_writing(flags)), opening(flags), "open", AT_FDCWD, path);
  return call.fails() ? -1 : next(path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  static constinit Next<int(const char*, int, ...)> next("open64");
  MODE_OF(flags);
  const Call call(kind_of(opens_for_writing(flags)), opening(flags), "open", AT_FDCWD, path);
  return call.fails() ? -1 : next(path, flags, mode);
}

int openat(int directory, const char* path, int flags, ...) {
  static constinit Next<int(int, const char*, int, ...)> next("openat");
  MODE_OF(flags);
  const Call call(kind_of(opens_for_writing(flags)), opening(flags), "openat", directory, path);
  return call.fails() ? -1 : next(directory, path, flags, mode);
}

int openat64(int directory, const char* path, int flags, ...) {
  static constinit Next<int(int, const char*, int, ...)> next("openat64");
  MODE_OF(flags);
  const Call call(kind_of(opens_for_writing(flags)), opening(flags), "openat", directory, path);
  return call.fails() ? -1 : next(directory, path, flags, mode);
}

std::FILE* fopen(const char* path, const char* mode) {
  static constinit Next<std::FILE*(const char*, const char*)> next("fopen");
  const bool writes = opens_for_writing(mode);
  const Call call(kind_of(writes), writes ? needs_space : Properties{}, "fopen", AT_FDCWD, path);
  return call.fails() ? nullptr : next(path, mode);
}

std::FILE* fopen64(const char* path, const char* mode) {
  static constinit Next<std::FILE*(const char*, const char*)> next("fopen64");
  const bool writes = opens_for_writing(mode);
  const Call call(kind_of(writes), writes ? needs_space : Properties{}, "fopen", AT_FDCWD, path);
  return call.fails() ? nullptr : next(path, mode);
}

// Linux closes whatever close() reports, EINTR included.
int close(int fd) {
  static constinit Next<int(int)> next("close");
  const Call call(kind_of(is_open_for_writing(fd)), interruptible, "close", fd);
  const int status = next(fd);
  return call.fails() ? -1 : status;
}

int fclose(std::FILE* file) {
  static constinit Next<int(std::FILE*)> next("fclose");
  const int fd = fileno(file);
  const Call call(kind_of(is_open_for_writing(fd)), 0, "fclose", fd);
  const int status = next(file);
  return call.fails() ? EOF : status;
}

// Writing.

ssize_t write(int fd, const void* bytes, size_t count) {
  static constinit Next<ssize_t(int, const void*, size_t)> next("write");
  const Call call(changing, interruptible | shortenable | needs_space, "write", fd);
  return call.fails() ? -1 : next(fd, bytes, call.allowed(count));
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  static constinit Next<ssize_t(int, const void*, size_t, off_t)> next("pwrite");
  const Call call(changing, interruptible | shortenable | needs_space, "pwrite", fd);
  return call.fails() ? -1 : next(fd, bytes, call.allowed(count), offset);
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  static constinit Next<ssize_t(int, const void*, size_t, off64_t)> next("pwrite64");
  const Call call(changing, interruptible | shortenable | needs_space, "pwrite", fd);
  return call.fails() ? -1 : next(fd, bytes, call.allowed(count), offset);
}

ssize_t writev(int fd, const iovec* parts, int count) {
  static constinit Next<ssize_t(int, const iovec*, int)> next("writev");
  const Call call(changing, interruptible | shortenable | needs_space, "writev", fd);
  if (call.fails()) return -1;
  if (count < 1 || call.allowed(2) == 2) return next(fd, parts, count);
  iovec half = parts[0];  // a short one ends somewhere in its first part
  half.iov_len = call.allowed(half.iov_len);
  return next(fd, &half, 1);
}

int fsync(int fd) {
  static constinit Next<int(int)> next("fsync");
  const Call call(changing, interruptible | needs_space, "fsync", fd);
  return call.fails() ? -1 : next(fd);
}

int fdatasync(int fd) {
  static constinit Next<int(int)> next("fdatasync");
  const Call call(changing, interruptible | needs_space, "fdatasync", fd);
  return call.fails() ? -1 : next(fd);
}

int ftruncate(int fd, off_t size) noexcept {
  static constinit Next<int(int, off_t)> next("ftruncate");
  const Call call(changing, 0, "ftruncate", fd);
  return call.fails() ? -1 : next(fd, size);
}

int ftruncate64(int fd, off64_t size) noexcept {
  static constinit Next<int(int, off64_t)> next("ftruncate64");
  const Call call(changing, 0, "ftruncate", fd);
  return call.fails() ? -1 : next(fd, size);
}

// Names. What is renamed is what counts; the folder that is watched contains both names.

int rename(const char* from, const char* to) noexcept {
  static constinit Next<int(const char*, const char*)> next("rename");
  const Call call(changing, 0, "rename", AT_FDCWD, from);
  return call.fails() ? -1 : next(from, to);
}

int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  static constinit Next<int(int, const char*, int, const char*)> next("renameat");
  const Call call(changing, 0, "renameat", from_directory, from);
  return call.fails() ? -1 : next(from_directory, from, to_directory, to);
}

int renameat2(int from_directory, const char* from, int to_directory, const char* to, unsigned flags) noexcept {
  static constinit Next<int(int, const char*, int, const char*, unsigned)> next("renameat2");
  const Call call(changing, 0, "renameat2", from_directory, from);
  return call.fails() ? -1 : next(from_directory, from, to_directory, to, flags);
}

int symlink(const char* target, const char* path) noexcept {
  static constinit Next<int(const char*, const char*)> next("symlink");
  const Call call(changing, needs_space, "symlink", AT_FDCWD, path);
  return call.fails() ? -1 : next(target, path);
}

int symlinkat(const char* target, int directory, const char* path) noexcept {
  static constinit Next<int(const char*, int, const char*)> next("symlinkat");
  const Call call(changing, needs_space, "symlinkat", directory, path);
  return call.fails() ? -1 : next(target, directory, path);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static constinit Next<int(const char*, mode_t)> next("mkdir");
  const Call call(changing, needs_space, "mkdir", AT_FDCWD, path);
  return call.fails() ? -1 : next(path, mode);
}

int mkdirat(int directory, const char* path, mode_t mode) noexcept {
  static constinit Next<int(int, const char*, mode_t)> next("mkdirat");
  const Call call(changing, needs_space, "mkdirat", directory, path);
  return call.fails() ? -1 : next(directory, path, mode);
}

int unlink(const char* path) noexcept {
  static constinit Next<int(const char*)> next("unlink");
  const Call call(changing, 0, "unlink", AT_FDCWD, path);
  return call.fails() ? -1 : next(path);
}

int unlinkat(int directory, const char* path, int flags) noexcept {
  static constinit Next<int(int, const char*, int)> next("unlinkat");
  const Call call(changing, 0, "unlinkat", directory, path);
  return call.fails() ? -1 : next(directory, path, flags);
}

int remove(const char* path) noexcept {
  static constinit Next<int(const char*)> next("remove");
  const Call call(changing, 0, "remove", AT_FDCWD, path);
  return call.fails() ? -1 : next(path);
}

int rmdir(const char* path) noexcept {
  static constinit Next<int(const char*)> next("rmdir");
  const Call call(changing, 0, "rmdir", AT_FDCWD, path);
  return call.fails() ? -1 : next(path);
}

// Reading.

ssize_t read(int fd, void* bytes, size_t count) {
  static constinit Next<ssize_t(int, void*, size_t)> next("read");
  const Call call(reading, interruptible | shortenable, "read", fd);
  return call.fails() ? -1 : next(fd, bytes, call.allowed(count));
}

ssize_t pread(int fd, void* bytes, size_t count, off_t offset) {
  static constinit Next<ssize_t(int, void*, size_t, off_t)> next("pread");
  const Call call(reading, interruptible | shortenable, "pread", fd);
  return call.fails() ? -1 : next(fd, bytes, call.allowed(count), offset);
}

ssize_t pread64(int fd, void* bytes, size_t count, off64_t offset) {
  static constinit Next<ssize_t(int, void*, size_t, off64_t)> next("pread64");
  const Call call(reading, interruptible | shortenable, "pread", fd);
  return call.fails() ? -1 : next(fd, bytes, call.allowed(count), offset);
}

void* mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  static constinit Next<void*(void*, size_t, int, int, int, off_t)> next("mmap");
  const Call call(reading, 0, "mmap", fd);
  return call.fails() ? MAP_FAILED : next(address, size, protection, flags, fd, offset);
}

void* mmap64(void* address, size_t size, int protection, int flags, int fd, off64_t offset) noexcept {
  static constinit Next<void*(void*, size_t, int, int, int, off64_t)> next("mmap64");
  const Call call(reading, 0, "mmap", fd);
  return call.fails() ? MAP_FAILED : next(address, size, protection, flags, fd, offset);
}

int fstat(int fd, struct stat* info) noexcept {
  static constinit Next<int(int, struct stat*)> next("fstat");
  const Call call(reading, 0, "fstat", fd);
  return call.fails() ? -1 : next(fd, info);
}

int fstat64(int fd, struct stat64* info) noexcept {
  static constinit Next<int(int, struct stat64*)> next("fstat64");
  const Call call(reading, 0, "fstat", fd);
  return call.fails() ? -1 : next(fd, info);
}

int stat(const char* path, struct stat* info) noexcept {
  static constinit Next<int(const char*, struct stat*)> next("stat");
  const Call call(reading, 0, "stat", AT_FDCWD, path);
  return call.fails() ? -1 : next(path, info);
}

int lstat(const char* path, struct stat* info) noexcept {
  static constinit Next<int(const char*, struct stat*)> next("lstat");
  const Call call(reading, 0, "lstat", AT_FDCWD, path);
  return call.fails() ? -1 : next(path, info);
}

ssize_t readlink(const char* path, char* target, size_t size) noexcept {
  static constinit Next<ssize_t(const char*, char*, size_t)> next("readlink");
  const Call call(reading, 0, "readlink", AT_FDCWD, path);
  return call.fails() ? -1 : next(path, target, size);
}

DIR* opendir(const char* path) {
  static constinit Next<DIR*(const char*)> next("opendir");
  const Call call(reading, 0, "opendir", AT_FDCWD, path);
  return call.fails() ? nullptr : next(path);
}

struct dirent* readdir(DIR* folder) {
  static constinit Next<struct dirent*(DIR*)> next("readdir");
  const Call call(reading, 0, "readdir", dirfd(folder));
  return call.fails() ? nullptr : next(folder);
}

}  // extern "C"

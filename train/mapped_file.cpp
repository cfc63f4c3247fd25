#include "train/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "core/check.h"

namespace accrue::train {
namespace {

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  // Non-blocking, or opening a pipe nobody writes to would wait for ever before it can be refused.
  return FileDescriptor(uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
}

[[noreturn]] void fail_with_errno(const std::filesystem::path& path, int error) {
  fail(ErrorKind::no_input, "{}: cannot be read: {}; check the path and its permissions", path.string(),
       std::generic_category().message(error));
}

}  // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)), file_(open_for_reading(path_)) {
  if (!file_) fail_with_errno(path_, errno);
  struct stat info = {};
  if (::fstat(file_.get(), &info) != 0) fail_with_errno(path_, errno);
  if (S_ISDIR(info.st_mode)) fail(ErrorKind::no_input, "{}: is a folder; name a file in it", path_.string());
  if (!S_ISREG(info.st_mode))
    fail(ErrorKind::no_input, "{}: is a pipe or a device, which cannot be mapped; copy its content to a file first",
         path_.string());
  if (info.st_size == 0) return;  // mmap refuses length 0
  const auto size = static_cast<std::size_t>(info.st_size);
  std::string name = path_.string();  // here: where memory runs out behind mmap(), nobody would unmap
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file_.get(), 0);
  if (address == MAP_FAILED) fail_with_errno(path_, errno);
  bytes_ = {static_cast<const std::uint8_t*>(address), size};
  place_ = guard_mapping(bytes_, file_.get(), std::move(name));
  if (place_ < 0) read_into_memory();
}

void MappedFile::read_into_memory() {
  const std::size_t size = bytes_.size();
  unmap();
  copy_.resize(size);
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = uninterrupted([&] { return ::read(file_.get(), copy_.data() + done, size - done); });
    if (got < 0) fail_with_errno(path_, errno);
    if (got == 0)
      fail(ErrorKind::bad_data,
           "{}: was truncated while it was read: {} bytes of {} were there; put the whole file back", path_.string(),
           done, size);
    done += static_cast<std::size_t>(got);
  }
  bytes_ = copy_;
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::move(other.file_)),
      bytes_(std::exchange(other.bytes_, {})),
      place_(std::exchange(other.place_, -1)),
      copy_(std::move(other.copy_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    file_ = std::move(other.file_);
    bytes_ = std::exchange(other.bytes_, {});
    place_ = std::exchange(other.place_, -1);
    copy_ = std::move(other.copy_);
  }
  return *this;
}

void MappedFile::unmap() noexcept {
  if (place_ >= 0) release_mapping(std::exchange(place_, -1));
  if (!bytes_.empty() && copy_.empty()) ::munmap(const_cast<std::uint8_t*>(bytes_.data()), bytes_.size());
  bytes_ = {};
}

}  // namespace accrue::train

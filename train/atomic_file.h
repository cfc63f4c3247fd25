// Writing a file so that a crash leaves the old one or the new one, never half of one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace accrue::train {

// Writes all bytes to a file descriptor, across interruptions and short writes. Throws Error(io) with errno's text,
// naming `path`.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

// Writes to "<path>.tmp"; commit() makes it durable and renames it to `path`. Without commit(), or when a step fails,
// the temporary is removed and `path` stays as it was.
class AtomicFile {
 public:
  // Throws Error(cannot_create) when the temporary cannot be opened for writing.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);  // throws Error(io)
  // fsync, rename, fsync of the folder: after it returns, a power cut keeps the new content. Throws Error(io).
  void commit();

 private:
  void close();

  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace accrue::train

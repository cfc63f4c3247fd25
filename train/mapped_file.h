// A file's bytes in memory without reading them first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace accrue::train {

// A read-only memory mapping of a regular file, for as long as the object lives. The kernel loads pages when they are
// touched, so opening a file larger than memory costs nothing. Another process that truncates the file meanwhile makes
// a later access end the program (SIGBUS); files replaced by rename, as Accrue writes them, are safe.
class MappedFile {
 public:
  // Throws Error(no_input) with the reason when the path is missing, unreadable, a folder, a pipe or a device.
  // An empty file is an empty span.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::uint8_t> bytes() const { return bytes_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void unmap() noexcept;

  std::filesystem::path path_;
  std::span<const std::uint8_t> bytes_;
};

}  // namespace accrue::train

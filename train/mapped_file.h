// A file's bytes in memory without reading them first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "train/file_descriptor.h"
#include "train/mapping_guard.h"

namespace accrue::train {

// A read-only memory mapping of a regular file, for as long as the object lives. The kernel loads pages when they are
// touched, so opening a file larger than memory costs nothing. Where another process writes to the file meanwhile,
// bytes change; where it truncates the file, or the disk fails, they read as zeros: whoever reads them calls
// require_intact() before anything is made of them, or reads with read_intact(). Files replaced by rename, as Accrue
// writes them, keep their content.
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

  // What `read` makes of the bytes. Throws Error(bad_data) if the file did not stay whole meanwhile, even where `read`
  // itself throws: what it says of zeros would mislead.
  template <class Read>
  auto read_intact(Read&& read) const {
    try {
      auto result = read(bytes_);
      require_intact(bytes_);
      return result;
    } catch (...) {
      require_intact(bytes_);
      throw;
    }
  }

 private:
  void read_into_memory();
  void unmap() noexcept;

  std::filesystem::path path_;
  FileDescriptor file_;  // what the guard asks for the file's size
  std::span<const std::uint8_t> bytes_;
  int place_ = -1;                  // of the guarded mapping
  std::vector<std::uint8_t> copy_;  // instead, where more files are mapped than can be guarded
};

}  // namespace accrue::train

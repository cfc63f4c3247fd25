// Writing a file so that a crash leaves the old one or the new one, never half of one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace accrue::train {

// Writes all bytes to a file descriptor, across interruptions and short writes. Throws Error(io) with errno's text,
// naming `path`.
void write_all(int fd, std::span<const std::byte> bytes, const std::filesystem::path& path);

// Waits until a file's content, or the names in a folder, are on the disk. Throws Error(io).
void make_durable(const std::filesystem::path& path);

// Asks the system to drop what it keeps of a file in memory, so that the next read is one of the disk. Best effort.
void forget_cached(const std::filesystem::path& path);

// A file that is not there yet, for folders that nobody reads until they are complete. What goes wrong leaves it
// behind.
class NewFile {
 public:
  // Throws Error(cannot_create) when the file exists or cannot be created.
  explicit NewFile(std::filesystem::path path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const std::byte> bytes);  // throws Error(io)
  void finish();                                 // fsync, close. Throws Error(io).

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

// Replaces a file's content in one step, durably. Throws Error(cannot_create) or Error(io).
void write_text_atomically(const std::filesystem::path& path, std::string_view text);

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
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace accrue::train

// A folder of files that appears as a whole or not at all, and that tells later whether it is still what was written.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace accrue::train {

// The file in a sealed folder with the checksums of the others: lines of 32 hexadecimal digits, two blanks and a name,
// which `xxh128sum -c checksums.xxh128` takes as well.
inline constexpr const char* checksums_name = "checksums.xxh128";

// Writes files into PARENT/.saving and gives the folder its name when all of them are safely there. A process that is
// killed on the way leaves .saving behind, which the next one removes.
class SealedFolderWriter {
 public:
  using Sink = std::function<void(std::span<const std::byte>)>;

  // Throws Error(cannot_create) if the folder cannot be made.
  explicit SealedFolderWriter(std::filesystem::path parent);
  ~SealedFolderWriter();
  SealedFolderWriter(const SealedFolderWriter&) = delete;
  SealedFolderWriter& operator=(const SealedFolderWriter&) = delete;

  // A file, whose content goes into the sink piece by piece. When this returns, the content is on the disk (fsync).
  // Throws Error(cannot_create) or Error(io) with the system's reason.
  void write(const std::string& name, const std::function<void(const Sink&)>& content);
  void write(const std::string& name, const std::string& text);
  // Writes the checksums, reads every file back and compares, then renames the folder to PARENT/NAME, which must not
  // exist, durably. Throws Error(io), also for a file that reads back other than it was written.
  void publish(const std::string& name);

 private:
  std::filesystem::path parent_, folder_;
  std::map<std::string, std::string> checksums_;  // by file
  bool published_ = false;
};

// What is wrong with a sealed folder: a file is missing, cannot be read, or is not what was written. Empty if all of
// `required`, and whatever else its checksums name, is as it was. Throws Error(no_input) for a file that this process
// may not open: that is no damage.
std::string damage_of_folder(const std::filesystem::path& folder, std::span<const char* const> required);

// Writes the checksums of the files that are in the folder now, for a tool that has changed one of them on purpose.
void seal_folder(const std::filesystem::path& folder);

}  // namespace accrue::train

// A log of one JSON object a line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "train/file_descriptor.h"

namespace accrue::train {

// Longer lines than this, a thousand times what Accrue writes, are refused. The file may be of any size: it is read
// line by line.
inline constexpr std::size_t longest_metrics_line = 1 << 20;

// Appends objects to a file, each as a whole line that is there at once. A number that is not finite is written as the
// string "NaN", "Infinity" or "-Infinity": valid JSON that still shows what happened.
//
// A disk that is full, or fails, costs no line and stops nobody: lines that cannot be written wait in memory, in their
// order, and are tried again with the next one. The file ends with a whole line at all times but those in which one is
// being written.
class JsonLines {
 public:
  // append: behind the last whole line; what a killed process has left behind that is cut off.
  enum class Mode { start_over, append };
  // Throws Error(cannot_create) with the system's reason.
  JsonLines(std::filesystem::path path, Mode mode);
  void write(const nlohmann::json& object);
  // Why lines wait: "DIR/metrics.jsonl cannot be written: No space left on device". Empty if none do.
  const std::string& trouble() const { return trouble_; }
  // Writes what waits; then every line is on the disk. Throws Error(io) if one is not: then all since the last time are
  // written again with the next one, as the system forgets what a disk has refused to keep.
  void make_durable();

 private:
  void write_waiting();
  int sync();

  std::filesystem::path path_;
  FileDescriptor file_;
  std::int64_t end_ = 0;  // of the last whole line in the file
  std::string waiting_;   // whole lines that are not in the file
  std::string unsynced_;  // those at its end of which nobody knows whether they are on the disk
  std::string trouble_;
};

// Shortens a log to the objects of the first `windows` windows, those whose "window" is less, so that a run resumed
// there continues the log without repeats; a torn last line goes too. By window and not by update: a skipped window has
// the number of the update before it. A missing file stays missing. The old file is replaced in one durable step.
// Returns the last window that it has then, or -1 if it has none. A log that leads to a device keeps nothing.
std::int64_t truncate_after(const std::filesystem::path& path, std::int64_t windows);

// A number for JsonLines, as itself or, when not finite, as a string.
nlohmann::json json_number(double value);

}  // namespace accrue::train

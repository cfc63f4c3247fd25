// A log of one JSON object a line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json_fwd.hpp>

namespace accrue::train {

// Longer lines than this, a thousand times what Accrue writes, are refused. The file may be of any size: it is read
// line by line.
inline constexpr std::size_t longest_metrics_line = 1 << 20;

// Appends objects to a file, each flushed as a whole line. A number that is not finite is written as the string "NaN",
// "Infinity" or "-Infinity": valid JSON that still shows what happened.
class JsonLines {
 public:
  enum class Mode { start_over, append };
  // Throws Error(cannot_create) with the system's reason.
  JsonLines(std::filesystem::path path, Mode mode);
  // Throws Error(io) if the line cannot be written whole.
  void write(const nlohmann::json& object);

 private:
  std::filesystem::path path_;
  std::ofstream file_;
};

// Shortens a log to the objects of the first `windows` windows, those whose "window" is less, so that a run resumed
// there continues the log without repeats; a torn last line goes too. By window and not by update: a skipped window has
// the number of the update before it. A missing file stays missing. The old file is replaced in one durable step.
void truncate_after(const std::filesystem::path& path, std::int64_t windows);

// A number for JsonLines, as itself or, when not finite, as a string.
nlohmann::json json_number(double value);

}  // namespace accrue::train

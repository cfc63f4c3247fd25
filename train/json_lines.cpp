#include "train/json_lines.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/json_file.h"
#include "train/json_value.h"

namespace accrue::train {
namespace fs = std::filesystem;

JsonLines::JsonLines(fs::path path, Mode mode)
    : path_(std::move(path)),
      file_(path_, std::ios::binary | (mode == Mode::append ? std::ios::app : std::ios::trunc)) {
  if (!file_)
    fail(ErrorKind::cannot_create, "{}: cannot be opened for writing: {}", path_.string(), std::strerror(errno));
}

void JsonLines::write(const nlohmann::json& object) {
  file_ << object.dump() + "\n" << std::flush;
  if (!file_) fail(ErrorKind::io, "{}: writing failed: {}; is the disk full?", path_.string(), std::strerror(errno));
}

namespace {

// The window of a line, if it is a whole one of the log.
std::optional<std::int64_t> window_of(std::string_view line) {
  if (line.size() > longest_metrics_line) return std::nullopt;
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(line.data()), line.size());
  try {
    return json_value<std::int64_t>(parse_json_object(bytes, "line"), "window");
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

void truncate_after(const fs::path& path, std::int64_t windows) {
  std::ifstream old(path, std::ios::binary);
  if (!old) return;
  AtomicFile fresh(path);
  for (std::string line; std::getline(old, line);) {
    const std::optional<std::int64_t> window = window_of(line);
    line += '\n';
    if (window && *window < windows) fresh.write(std::as_bytes(std::span(line)));
  }
  if (old.bad()) fail(ErrorKind::io, "{}: reading failed", path.string());
  fresh.commit();
}

nlohmann::json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

}  // namespace accrue::train

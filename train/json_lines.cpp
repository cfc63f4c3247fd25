#include "train/json_lines.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>

#include "core/check.h"
#include "train/atomic_file.h"
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

void truncate_after(const fs::path& path, std::int64_t windows) {
  std::ifstream old(path, std::ios::binary);
  // Only one that is not there: a log that cannot be opened now would keep windows that come again.
  if (!old && errno == ENOENT) return;
  if (!old) fail(ErrorKind::no_input, "{}: cannot be opened for reading: {}", path.string(), std::strerror(errno));
  AtomicFile fresh(path);
  for (std::string line; std::getline(old, line);) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) continue;
    const std::optional<std::int64_t> window = json_value<std::int64_t>(object, "window");
    line += '\n';
    if (window && *window < windows) fresh.write(std::as_bytes(std::span(line)));
  }
  if (old.bad()) fail(ErrorKind::io, "{}: reading failed: {}", path.string(), std::strerror(errno));
  fresh.commit();
}

nlohmann::json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

}  // namespace accrue::train

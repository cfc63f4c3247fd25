#include "train/json_lines.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <system_error>

#include "core/check.h"

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

void truncate_after(const fs::path& path, std::int64_t update) {
  std::ifstream old(path, std::ios::binary);
  if (!old) return;
  const fs::path fresh_path = path.string() + ".tmp";
  std::ofstream fresh(fresh_path, std::ios::binary | std::ios::trunc);
  if (!fresh) fail(ErrorKind::cannot_create, "{}: cannot be created: {}", fresh_path.string(), std::strerror(errno));
  for (std::string line; std::getline(old, line);) {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    const bool whole = object.is_object() && object.contains("update") && object["update"].is_number_integer();
    if (whole && object["update"].get<std::int64_t>() <= update) fresh << line << "\n";
  }
  fresh.close();
  std::error_code error;
  if (fresh) fs::rename(fresh_path, path, error);
  if (!fresh || error) fail(ErrorKind::io, "{}: the log cannot be shortened to update {}", path.string(), update);
}

nlohmann::json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

}  // namespace accrue::train

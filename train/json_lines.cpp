#include "train/json_lines.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/json_file.h"
#include "train/json_value.h"
#include "train/mapped_file.h"

namespace accrue::train {
namespace fs = std::filesystem;

namespace {

std::string log_error(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_to_open(const fs::path& path, int error) {
  fail(ErrorKind::cannot_create, "{}: cannot be opened for writing: {}", path.string(), log_error(error));
}

FileDescriptor open_log(const fs::path& path, JsonLines::Mode mode) {
  // Without waiting for the other end of a pipe, which has no offsets and is refused.
  const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | (mode == JsonLines::Mode::start_over ? O_TRUNC : 0);
  FileDescriptor file(uninterrupted([&] { return ::open(path.c_str(), flags, 0666); }));
  if (!file || ::lseek(file.get(), 0, SEEK_CUR) < 0) fail_to_open(path, errno);
  return file;
}

std::int64_t size_of(int fd) {
  struct stat info = {};
  return ::fstat(fd, &info) == 0 ? info.st_size : -1;
}

// Reads all of it, or to the end of the file; -1 with errno.
ssize_t read_at(int fd, std::span<char> piece, std::int64_t offset) {
  std::size_t size = 0;
  while (size < piece.size()) {
    const std::span<char> rest = piece.subspan(size);
    const ssize_t got =
        uninterrupted([&] { return ::pread(fd, rest.data(), rest.size(), offset + static_cast<std::int64_t>(size)); });
    if (got < 0) return -1;
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  return static_cast<ssize_t>(size);
}

// Where the last whole line among the first `size` bytes ends, or -1 with errno.
std::int64_t end_of_lines(int fd, std::int64_t size) {
  std::array<char, 4096> piece;
  for (std::int64_t end = size; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(end - std::ssize(piece), 0);
    const ssize_t got = read_at(fd, std::span(piece).first(static_cast<std::size_t>(end - begin)), begin);
    if (got < 0) return -1;
    const std::size_t newline = std::string_view(piece.data(), static_cast<std::size_t>(got)).rfind('\n');
    if (newline != std::string_view::npos) return begin + static_cast<std::int64_t>(newline) + 1;
    end = begin;
  }
  return 0;
}

// Writes as much as the disk takes; errno says why that is not all.
std::size_t write_at(int fd, std::string_view text, std::int64_t offset) {
  std::size_t written = 0;
  while (written < text.size()) {
    const std::string_view rest = text.substr(written);
    const ssize_t count = uninterrupted(
        [&] { return ::pwrite(fd, rest.data(), rest.size(), offset + static_cast<std::int64_t>(written)); });
    if (count == 0) errno = ENOSPC;  // the standard allows it, and nothing is gained by asking again
    if (count <= 0) break;
    written += static_cast<std::size_t>(count);
  }
  return written;
}

}  // namespace

JsonLines::JsonLines(fs::path path, Mode mode) : path_(std::move(path)), file_(open_log(path_, mode)) {
  const std::int64_t size = size_of(file_.get());
  end_ = size < 0 ? -1 : end_of_lines(file_.get(), size);
  if (end_ < 0 || (end_ < size && ::ftruncate(file_.get(), end_) != 0)) fail_to_open(path_, errno);
}

void JsonLines::write(const nlohmann::json& object) {
  waiting_ += object.dump() + "\n";
  write_waiting();
  // Lest a long run without checkpoints keeps all of its log in memory.
  constexpr std::size_t most_unsynced = 1 << 20;
  if (unsynced_.size() > most_unsynced) {
    if (const int error = sync(); error != 0)
      trouble_ = fmt::format("{} cannot be made durable: {}", path_.string(), log_error(error));
  }
}

void JsonLines::write_waiting() {
  // Somebody else may have shortened the file, as log rotation does: beyond its end a hole of zeros would come before
  // the line.
  const std::int64_t size = size_of(file_.get());
  if (size >= 0 && size < end_) {
    end_ = std::max<std::int64_t>(end_of_lines(file_.get(), size), 0);
    unsynced_.clear();  // whoever did that did not want them
  }
  const std::size_t written = write_at(file_.get(), waiting_, end_);
  const int error = errno;
  const bool all = written == waiting_.size();
  const std::size_t lines = all ? written : std::string_view(waiting_).substr(0, written).rfind('\n') + 1;
  unsynced_.append(waiting_, 0, lines);  // first: where there is no memory, the same lines are written here again
  end_ += static_cast<std::int64_t>(lines);
  waiting_.erase(0, lines);
  trouble_ = all ? "" : fmt::format("{} cannot be written: {}", path_.string(), log_error(error));
  // What is there of a half line. Where even that fails, the next attempt writes the same line over it.
  if (written > lines && ::ftruncate(file_.get(), end_) != 0) return;
}

void JsonLines::make_durable() {
  write_waiting();
  if (!trouble_.empty())
    fail(ErrorKind::io, "{}; {} lines are only in memory: free space on its disk", trouble_,
         std::count(waiting_.begin(), waiting_.end(), '\n'));
  if (const int error = sync(); error != 0)
    fail(ErrorKind::io, "{}: cannot be made durable: {}; check its disk", path_.string(), log_error(error));
}

// 0, or the errno of the failure.
int JsonLines::sync() {
  const int status = uninterrupted([&] { return ::fsync(file_.get()); });
  // Devices that keep nothing say EINVAL.
  const int error = status == 0 || errno == EINVAL ? 0 : errno;
  if (error != 0) {
    waiting_.insert(0, unsynced_);
    end_ -= std::ssize(unsynced_);
  }
  unsynced_.clear();
  return error;
}

namespace {

// The window of a line, if it is a whole one of the log.
std::optional<std::int64_t> window_of(std::span<const std::uint8_t> line) {
  if (line.size() > longest_metrics_line) return std::nullopt;
  try {
    return json_value<std::int64_t>(parse_json_object(line, "line"), "window");
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

std::int64_t truncate_after(const fs::path& path, std::int64_t windows) {
  // Only one that is not there: a log that cannot be opened now would keep windows that come again.
  std::error_code ignored;
  const fs::file_type type = fs::status(path, ignored).type();
  if (type == fs::file_type::not_found || type == fs::file_type::character) return -1;
  const MappedFile old(path);
  // Where a link leads to the log, it stays.
  const fs::path target = fs::canonical(path, ignored);
  AtomicFile fresh(target.empty() ? path : target);
  std::int64_t last = -1;
  old.read_intact([&](std::span<const std::uint8_t> rest) {
    while (!rest.empty()) {
      const auto end = std::find(rest.begin(), rest.end(), '\n');
      const auto line = rest.first(static_cast<std::size_t>(end - rest.begin()));
      const std::optional<std::int64_t> window = window_of(line);
      if (window && *window < windows) {
        last = std::max(last, *window);
        fresh.write(std::as_bytes(line));
        fresh.write(std::as_bytes(std::span("\n", 1)));
      }
      rest = rest.subspan(std::min(line.size() + 1, rest.size()));
    }
    return 0;
  });
  fresh.commit();
  return last;
}

nlohmann::json json_number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

}  // namespace accrue::train

#include "train/sealed_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/checksum.h"
#include "train/file_descriptor.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr const char* staging_name = ".saving";
constexpr std::size_t largest_checksums = 64 * 1024;  // of a folder with hundreds of files

std::string reason(int error) { return std::generic_category().message(error); }

// Without O_NONBLOCK, a pipe in place of the file would be waited for. Where this fails, errno is as open() has left
// it.
FileDescriptor open_to_read(const fs::path& path) {
  return FileDescriptor(uninterrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
}

ssize_t read_some(int fd, std::span<std::byte> buffer) {
  return uninterrupted([&] { return ::read(fd, buffer.data(), buffer.size()); });
}

// Of a file's content: its checksum, or why there is none.
struct ReadChecksum {
  std::string checksum, trouble;
  bool refused = false;  // the system did not let this process open it, which says nothing of the file
};

ReadChecksum checksum_of_descriptor(int fd, const fs::path& path) {
  struct stat info = {};
  if (::fstat(fd, &info) != 0)
    return {.checksum = {}, .trouble = fmt::format("{} cannot be read: {}", path.string(), reason(errno))};
  if (!S_ISREG(info.st_mode)) return {.checksum = {}, .trouble = fmt::format("{} is no file", path.string())};
  Checksum checksum;
  constexpr std::size_t piece = std::size_t{1} << 18;
  const auto memory = std::make_unique_for_overwrite<std::byte[]>(piece);
  const std::span buffer(memory.get(), piece);
  for (;;) {
    const ssize_t got = read_some(fd, buffer);
    if (got < 0) return {.checksum = {}, .trouble = fmt::format("{} cannot be read: {}", path.string(), reason(errno))};
    if (got == 0) return {.checksum = checksum.text(), .trouble = {}};
    checksum.add(buffer.first(static_cast<std::size_t>(got)));
  }
}

// Whether errno after open() says that the path leads nowhere, and not that this process may not follow it.
bool is_missing(int error) { return error == ENOENT || error == ENOTDIR || error == ELOOP; }

ReadChecksum checksum_of_file(const fs::path& path) {
  const FileDescriptor file = open_to_read(path);
  if (file) return checksum_of_descriptor(file.get(), path);
  if (is_missing(errno)) return {.checksum = {}, .trouble = fmt::format("{} is missing", path.string())};
  return {.checksum = {},
          .trouble = fmt::format("{} cannot be read: {}", path.string(), reason(errno)),
          .refused = errno != EIO};
}

std::string checksums_text(const std::map<std::string, std::string>& checksums) {
  std::string text;
  for (const auto& [name, checksum] : checksums) text += fmt::format("{}  {}\n", checksum, name);
  return text;
}

bool is_checksum(std::string_view text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Names of a folder's own files alone: nothing that leads out of it, nothing that steers a terminal.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos &&
         name.front() != '.';
}

// Nullopt unless every line is as checksums_text() writes it.
std::optional<std::map<std::string, std::string>> parse_checksums(std::string_view text) {
  std::map<std::string, std::string> checksums;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos || end < 35) return std::nullopt;
    const std::string_view checksum = text.substr(0, 32), blanks = text.substr(32, 2), name = text.substr(34, end - 34);
    if (!is_checksum(checksum) || blanks != "  " || !is_plain_name(name)) return std::nullopt;
    if (!checksums.emplace(name, checksum).second) return std::nullopt;
    text.remove_prefix(end + 1);
  }
  return checksums;
}

// The file's text, or nullopt where it cannot be one of checksums.
std::optional<std::string> read_checksums(int fd) {
  std::string text(largest_checksums + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read_some(fd, std::as_writable_bytes(std::span(text)).subspan(size));
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > largest_checksums) return std::nullopt;
  text.resize(size);
  return text;
}

}  // namespace

SealedFolderWriter::SealedFolderWriter(fs::path parent) : parent_(std::move(parent)), folder_(parent_ / staging_name) {
  std::error_code error;
  fs::remove_all(folder_, error);
  fs::create_directories(folder_, error);
  if (error)
    fail(ErrorKind::cannot_create, "{}: cannot be created: {}; check that {} may be written and has free space",
         folder_.string(), error.message(), parent_.string());
}

SealedFolderWriter::~SealedFolderWriter() {
  std::error_code ignored;
  if (!published_) fs::remove_all(folder_, ignored);
}

void SealedFolderWriter::write(const std::string& name, const std::function<void(const Sink&)>& content) {
  NewFile file(folder_ / name);
  Checksum checksum;
  content([&](std::span<const std::byte> bytes) {
    checksum.add(bytes);
    file.write(bytes);
  });
  file.finish();
  checksums_[name] = checksum.text();
}

void SealedFolderWriter::write(const std::string& name, const std::string& text) {
  write(name, [&](const Sink& sink) { sink(std::as_bytes(std::span(text))); });
}

void SealedFolderWriter::publish(const std::string& name) {
  const std::map<std::string, std::string> files = checksums_;
  write(checksums_name, checksums_text(files));
  make_durable(folder_);
  for (const auto& [file, checksum] : checksums_) {
    forget_cached(folder_ / file);
    const ReadChecksum read = checksum_of_file(folder_ / file);
    if (!read.trouble.empty()) fail(ErrorKind::io, "{}", read.trouble);
    if (read.checksum != checksum)
      fail(ErrorKind::io, "{}: reads back other than it was written; the disk or the memory is failing",
           (folder_ / file).string());
  }
  if (::rename(folder_.c_str(), (parent_ / name).c_str()) != 0)
    fail(ErrorKind::io, "{}: cannot be renamed to {}: {}", folder_.string(), name, reason(errno));
  published_ = true;
  make_durable(parent_);
}

std::string damage_of_folder(const fs::path& folder, std::span<const char* const> required) {
  const fs::path path = folder / checksums_name;
  const FileDescriptor file = open_to_read(path);
  if (!file) {
    if (is_missing(errno)) return fmt::format("{} is missing", path.string());
    fail(ErrorKind::no_input, "{}: cannot be read: {}; check its permissions", path.string(), reason(errno));
  }
  const std::optional<std::string> text = read_checksums(file.get());
  const auto checksums = text ? parse_checksums(*text) : std::nullopt;
  if (!checksums) return fmt::format("{} is damaged", path.string());
  for (const char* name : required)
    if (!checksums->contains(name)) return fmt::format("{} does not name {}", path.string(), name);
  for (const auto& [name, checksum] : *checksums) {
    const ReadChecksum read = checksum_of_file(folder / name);
    if (read.refused) fail(ErrorKind::no_input, "{}; check its permissions", read.trouble);
    if (!read.trouble.empty()) return read.trouble;
    if (read.checksum != checksum)
      return fmt::format("{} is damaged: its checksum is {}, but {} has {}", (folder / name).string(), read.checksum,
                         checksums_name, checksum);
  }
  return {};
}

void seal_folder(const fs::path& folder) {
  std::map<std::string, std::string> checksums;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name == checksums_name || !entry.is_regular_file() || !is_plain_name(name)) continue;
    const ReadChecksum read = checksum_of_file(entry.path());
    if (!read.trouble.empty()) fail(ErrorKind::io, "{}", read.trouble);
    checksums[name] = read.checksum;
  }
  write_text_atomically(folder / checksums_name, checksums_text(checksums));
}

}  // namespace accrue::train

#include "tests/fuzz/fuzz.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "train/printable.h"

namespace accrue::fuzz {

void finding(std::string_view message) {
  lift_allocation_limit();
  fmt::print(stderr, "finding: {}\n", message);
  std::abort();
}

void require_refusal(const Error& error, std::initializer_list<ErrorKind> kinds) {
  constexpr std::size_t longest = 1000;
  const std::string_view message = error.what();
  if (std::find(kinds.begin(), kinds.end(), error.kind()) == kinds.end())
    finding(fmt::format("an error of kind {}: {}", error.exit_code(), message));
  if (message.empty() || message.size() > longest) finding(fmt::format("a message of {} bytes", message.size()));
  if (train::steers_a_terminal(message)) finding("a message with control characters of the input");
}

MemoryFile::MemoryFile(Bytes content) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  require(descriptor_ >= 0, "memfd_create failed");
  while (!content.empty()) {
    const ssize_t written = ::write(descriptor_, content.data(), content.size());
    require(written > 0, "writing into memory failed");
    content = content.subspan(static_cast<std::size_t>(written));
  }
}

MemoryFile::~MemoryFile() { ::close(descriptor_); }

std::filesystem::path MemoryFile::path() const { return fmt::format("/proc/self/fd/{}", descriptor_); }

Parts split_at_zero(Bytes input) {
  const auto zero = std::find(input.begin(), input.end(), 0);
  const auto length = static_cast<std::size_t>(zero - input.begin());
  if (zero == input.end()) return {.first = input, .second = std::nullopt};
  return {.first = input.first(length), .second = input.subspan(length + 1)};
}

}  // namespace accrue::fuzz

// What the fuzz targets share. A target is a file NAME_fuzz.cpp with LLVMFuzzerTestOneInput: libFuzzer calls it
// (scripts/fuzz), and so does the driver of the tests (replay_main.cpp). What must not happen ends the process.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "tests/fuzz/allocations.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace accrue::fuzz {

using Bytes = std::span<const std::uint8_t>;

// Prints "finding: …" and aborts; whoever drives the target then saves its input.
[[noreturn]] void finding(std::string_view message);

inline void require(bool condition, const char* what) {
  if (!condition) finding(what);
}

// A refusal is an Error of one of these kinds whose message is short and cannot steer a terminal.
void require_refusal(const Error& error, std::initializer_list<ErrorKind> kinds);

// What the parser makes of an input, or nothing where it refuses it with Error(bad_data) or one of the other kinds. Any
// other exception is a finding, and so are more bytes allocated than the limit.
template <class Parser>
auto parsed(std::uint64_t allocation_limit, Parser&& parser,
            std::initializer_list<ErrorKind> kinds = {ErrorKind::bad_data}) -> std::optional<decltype(parser())> {
  try {
    const AllocationLimit limit(allocation_limit);
    return parser();
  } catch (const Error& error) {
    require_refusal(error, kinds);
  } catch (const std::exception& error) {
    finding(std::string("an exception that is no accrue::Error: ") + error.what());
  }
  return std::nullopt;
}

// A file in memory, for interfaces that take a path.
class MemoryFile {
 public:
  explicit MemoryFile(Bytes content);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::filesystem::path path() const;

 private:
  int descriptor_;
};

// The next value of an input that also chooses parameters; zero where the input has ended.
template <class T>
T take(Bytes& input) {
  T value{};
  const std::size_t size = std::min(input.size(), sizeof(T));
  if (size > 0) std::memcpy(&value, input.data(), size);
  input = input.subspan(size);
  return value;
}

// An input of two parts with a zero byte between them; the second may be missing.
struct Parts {
  Bytes first;
  std::optional<Bytes> second;
};
Parts split_at_zero(Bytes input);

}  // namespace accrue::fuzz

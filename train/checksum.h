// XXH3 (Yann Collet's xxHash): checksums against accidents, at the speed of memory. Not against forgery.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace accrue::train {

// The 128-bit checksum of bytes that come in pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;

  void add(std::span<const std::byte> bytes);
  // 32 hexadecimal digits, as `xxh128sum` prints them.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The 64-bit checksum of one piece; `seed` makes it depend on what came before.
std::uint64_t checksum64(std::span<const std::uint8_t> bytes, std::uint64_t seed);

}  // namespace accrue::train

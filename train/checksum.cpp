#include "train/checksum.h"

// Compiled in: a program that links Accrue needs no further library.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fmt/format.h>

namespace accrue::train {

struct Checksum::State {
  XXH3_state_t xxh;
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }

Checksum::~Checksum() = default;

void Checksum::add(std::span<const std::byte> bytes) {
  // XXH3 takes no null pointer, which an empty span may have.
  if (!bytes.empty()) XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::string Checksum::text() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->xxh);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::uint64_t checksum64(std::span<const std::uint8_t> bytes, std::uint64_t seed) {
  static constexpr std::uint8_t nothing = 0;
  return XXH3_64bits_withSeed(bytes.empty() ? &nothing : bytes.data(), bytes.size(), seed);
}

}  // namespace accrue::train

// Telling one data set from another, so that a resumed run is not silently shown other samples.
#pragma once

#include <cstdint>
#include <span>

namespace accrue::train {

// Size and FNV-1a hash (Fowler, Noll, Vo; 64 bits) of a data set's bytes. Against mistakes, not against forgery.
struct DataIdentity {
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0xcbf29ce484222325u;

  DataIdentity& add(std::span<const std::uint8_t> content) {
    bytes += content.size();
    for (const std::uint8_t byte : content) hash = (hash ^ byte) * 0x100000001b3u;
    return *this;
  }
  friend bool operator==(const DataIdentity&, const DataIdentity&) = default;
};

}  // namespace accrue::train

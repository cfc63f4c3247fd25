// Telling one data set from another, so that a resumed run is not silently shown other samples.
#pragma once

#include <cstdint>
#include <span>

#include "train/checksum.h"

namespace accrue::train {

// Size and XXH3 hash of a data set's bytes, in the pieces that they are added in. Against mistakes, not against
// forgery.
struct DataIdentity {
  std::uint64_t bytes = 0;
  std::uint64_t hash = 0;

  DataIdentity& add(std::span<const std::uint8_t> content) {
    bytes += content.size();
    hash = checksum64(content, hash);
    return *this;
  }
  friend bool operator==(const DataIdentity&, const DataIdentity&) = default;
};

}  // namespace accrue::train

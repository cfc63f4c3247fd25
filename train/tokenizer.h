// Text to token ids and back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace accrue::train {

// Every byte is a token: nothing to train, nothing to download, and no text that cannot be represented.
class ByteTokenizer {
 public:
  static constexpr std::int32_t vocabulary = 256;

  // One id in [0, 256) for each byte of the text.
  std::vector<std::int32_t> encode(std::string_view text) const;
  // The bytes of the ids; the result need not be valid UTF-8 when the ids were sampled from a model.
  // Throws Error(bad_data) for an id outside [0, 256), naming it and its position.
  std::string decode(std::span<const std::int32_t> ids) const;
};

}  // namespace accrue::train

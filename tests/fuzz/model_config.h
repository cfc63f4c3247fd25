// The config.json of a model and, behind a zero byte, the weights file that it is compared with.
#pragma once

#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"
#include "train/json_file.h"
#include "train/safetensors.h"
#include "train/weights_size.h"

namespace accrue::fuzz {

inline std::uint64_t json_limit(std::size_t size) {
  return train::json_allocation_per_byte * size + train::json_allocation_constant;
}

inline std::optional<nlohmann::json> parsed_json(Bytes text) {
  return parsed(json_limit(text.size()), [&] { return train::parse_json_object(text, "config.json"); });
}

// A model that is larger than the weights must be refused.
inline void compare_with_weights(std::int64_t parameters, Bytes file) {
  const std::uint64_t limit =
      train::safetensors_allocation_per_byte * file.size() + train::safetensors_allocation_constant;
  const auto index = parsed(limit, [&] { return train::parse_safetensors(file, "model.safetensors"); });
  if (!index) return;
  const auto fits = parsed(json_limit(0), [&] {
    train::require_weights_for(parameters, "config.json", index->entries, "model.safetensors");
    return true;
  });
  constexpr std::size_t smallest_float = 2;
  if (fits)
    require(static_cast<std::uint64_t>(parameters) <= file.size() / smallest_float, "a model beyond its weights");
}

}  // namespace accrue::fuzz

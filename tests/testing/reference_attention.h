// Causal attention by its definition, in double precision, and how far a float kernel may be from each element of it.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/rng.h"
#include "core/shape.h"

namespace accrue::testing::attention {

using Doubles = std::vector<double>;

// Where a case runs, and in what dtype its operands and results are; logsumexp is always in f32.
struct Target {
  Device device = Device::cpu();
  DType dtype = DType::f32;
};

struct Case {
  std::int64_t batch = 1, tokens = 1, heads = 1, head_size = 1;
  float dropout_p = 0;
  float scale = 0.4f;
  float deviation = 1;  // of the random operands
  float offset = 0;     // added to the first feature of every query and key, so that all scores gain its square
  float grid = 0;       // where positive, qkv consists of multiples of it: small ones give exact scores (scale is 1)
  Target on = {};

  std::int64_t channels() const { return heads * head_size; }
  Shape qkv_shape() const { return {batch, tokens, 3 * channels()}; }
  Shape y_shape() const { return {batch, tokens, channels()}; }
  Shape stats_shape() const { return {batch, heads, tokens}; }
  std::string text() const {
    return fmt::format("B {} T {} H {} D {} dropout {} deviation {} offset {} in {} on {}", batch, tokens, heads,
                       head_size, dropout_p, deviation, offset, name_of(on.dtype), on.device.to_string());
  }
};

inline const RandomKey random_key = {.seed = 0x0123456789abcdef, .window = 5, .first_sample = 3};
inline constexpr std::uint32_t site = 7;

// The definition in double precision, and the bounds.
struct Reference {
  Doubles y, logsumexp, dqkv;
  Doubles y_bound, logsumexp_bound, dqkv_bound;
};

// The pairs of queries and keys that add to dqkv: all of them, or a tile.
struct Pairs {
  std::int64_t first_query = 0, last_query = std::numeric_limits<std::int64_t>::max();
  std::int64_t first_key = 0, last_key = std::numeric_limits<std::int64_t>::max();
};

Reference reference(const Case& c, const Doubles& qkv, const Doubles& dy, const Pairs& pairs = {});

// What one query gives, in the first head of the first sample.
struct QueryReference {
  Doubles y, y_bound;  // [head_size]
  double logsumexp, logsumexp_bound;
};

QueryReference reference_of_query(const Case& c, const Doubles& qkv, std::int64_t query);

}  // namespace accrue::testing::attention

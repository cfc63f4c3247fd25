#include "train/sampler.h"

#include <algorithm>

#include "core/check.h"

namespace accrue::train {
namespace {

// Many for a Feistel network, because the halves of a small data set's index have only a bit or two each, and few
// rounds of such narrow ones reach the orders unevenly. A sample's index costs about 100 ns at most.
constexpr int feistel_rounds = 12;

// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every input bit changes every output bit.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// An invertible map of [0, 4^half_bits): each round changes one half by a keyed hash of the other.
std::uint64_t feistel(std::uint64_t value, int half_bits, std::uint64_t key) {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  // A balanced Feistel network is an even permutation; adding a constant is odd half of the time. Without it the orders
  // of five samples would not be equally likely (by 8 %).
  key = mix(key);
  value = (value + key) & ((mask << half_bits) | mask);
  std::uint64_t left = value >> half_bits, right = value & mask;
  for (int round = 0; round < feistel_rounds; ++round) {
    key = mix(key);
    const std::uint64_t hash = mix(key ^ right) & mask;
    const std::uint64_t previous = right;
    right = left ^ hash;
    left = previous;
  }
  return (left << half_bits) | right;
}

std::int64_t product(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  check(!__builtin_mul_overflow(a, b, &result), "WindowPlan: stream position {} * {} does not fit 63 bits", a, b);
  return result;
}

}  // namespace

Sampler::Sampler(std::int64_t dataset_size, DataOrder order, std::uint64_t seed)
    : dataset_size_(dataset_size), order_(order), seed_(seed), half_bits_(0) {
  check(dataset_size >= 1, "Sampler: the data set must hold at least one sample, but holds {}", dataset_size);
  while (half_bits_ < 32 && (std::uint64_t{1} << (2 * half_bits_)) < static_cast<std::uint64_t>(dataset_size))
    ++half_bits_;
}

std::int64_t Sampler::sample_at(std::int64_t position) const {
  check(position >= 0, "Sampler: positions start at 0, but got {}", position);
  const std::int64_t offset = position % dataset_size_;
  if (order_ == DataOrder::sequential) return offset;
  return shuffled(static_cast<std::uint64_t>(epoch_of(position)), static_cast<std::uint64_t>(offset));
}

std::int64_t Sampler::shuffled(std::uint64_t epoch, std::uint64_t offset) const {
  const std::uint64_t key = mix(mix(seed_) + epoch);
  // Cycle walking (Black & Rogaway 2002): iterating a permutation of the larger range until it re-enters [0, N) is a
  // permutation of [0, N). The range is less than 4 N, so fewer than 4 steps are expected.
  std::uint64_t value = offset;
  do value = feistel(value, half_bits_, key);
  while (value >= static_cast<std::uint64_t>(dataset_size_));
  return static_cast<std::int64_t>(value);
}

WindowPlan::WindowPlan(std::int64_t dataset_size, std::int64_t global_batch, PartialWindow partial)
    : dataset_size_(dataset_size), global_batch_(global_batch), partial_(partial), windows_per_epoch_(0) {
  check(dataset_size >= 1, "WindowPlan: the data set must hold at least one sample, but holds {}", dataset_size);
  check(global_batch >= 1, "WindowPlan: the global batch must be at least 1, but is {}", global_batch);
  const std::int64_t whole = dataset_size / global_batch;
  if (partial == PartialWindow::drop && whole == 0)
    fail(ErrorKind::usage,
         "partial windows cannot be dropped: the data set has {} sample{}, fewer than the global batch of {}, so no "
         "epoch holds a whole window; use a global batch of at most {}, or let partial windows step or carry",
         dataset_size, dataset_size == 1 ? "" : "s", global_batch, dataset_size);
  const bool rounds_up = partial != PartialWindow::drop && dataset_size % global_batch != 0;
  windows_per_epoch_ = whole + (rounds_up ? 1 : 0);
}

Window WindowPlan::window(std::int64_t index) const {
  check(index >= 0, "WindowPlan: windows count from 0, but got {}", index);
  if (partial_ == PartialWindow::carry) return {product(index, global_batch_), global_batch_};
  const std::int64_t within_epoch = (index % windows_per_epoch_) * global_batch_;
  const std::int64_t epoch_start = product(index / windows_per_epoch_, dataset_size_);
  return {epoch_start + within_epoch, std::min(global_batch_, dataset_size_ - within_epoch)};
}

std::int64_t WindowPlan::dropped_per_epoch() const {
  return partial_ == PartialWindow::drop ? dataset_size_ % global_batch_ : 0;
}

std::vector<MicroBatch> micro_batches(std::int64_t count, std::int64_t micro) {
  check(count >= 0, "micro_batches: the window's samples must not be negative, but are {}", count);
  check(micro >= 1, "micro_batches: the micro-batch must be at least 1, but is {}", micro);
  std::vector<MicroBatch> batches;
  batches.reserve(static_cast<std::size_t>(count / micro + 1));
  for (std::int64_t first = 0; first < count;) {
    const std::int64_t size = std::min(micro, count - first);
    batches.push_back({first, size});
    first += size;
  }
  return batches;
}

}  // namespace accrue::train

#include "kernels/cuda/elementwise.cuh"
#include "kernels/dropout.h"
#include "kernels/dropout_mask.h"

namespace accrue::kernels::cuda {
namespace {

// Work over [samples, quads]: the four words of one counter are for the four elements of a quad.
template <class T, bool packed>
struct DropoutWork {
  T* out;
  const T* x;
  std::int64_t sample_size;
  Write write;
  DropoutMask mask;
  RandomKey key;
  std::uint32_t site;

  __device__ void apply(std::int64_t sample, std::int64_t quad) const {
    const Philox4 words =
        sample_random(key, site, static_cast<std::uint32_t>(sample), static_cast<std::uint32_t>(quad));
    const std::int64_t i = sample * sample_size + 4 * quad;
    if constexpr (packed) {
      drop<4>(i, words, 0);
    } else {
      const std::int64_t left = sample_size - 4 * quad;
#pragma unroll
      for (int k = 0; k < 4; ++k)
        if (k < left) drop<1>(i + k, words, k);
    }
  }

  // Elements [i, i + width) draw words [first, first + width).
  template <int width>
  __device__ void drop(std::int64_t i, const Philox4& words, int first) const {
    Floats<width> values = load<width>(x + i), old{};
    if (write == Write::accumulate) old = load<width>(out + i);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float kept = mask.keeps(words[static_cast<std::size_t>(first + k)]) ? values.v[k] * mask.scale : 0;
      // Not fused: what is accumulated is what would have been stored.
      values.v[k] = write == Write::accumulate ? __fadd_rn(old.v[k], kept) : kept;
    }
    store(out + i, values);
  }
};

template <class T, bool packed>
void drop_samples(const Dropout& op, std::int64_t samples, std::int64_t sample_size) {
  const DropoutWork<T, packed> work{.out = elements<T>(op.out.tensor),
                                    .x = elements<T>(op.x),
                                    .sample_size = sample_size,
                                    .write = op.out.write,
                                    .mask = DropoutMask::of(op.p),
                                    .key = op.key,
                                    .site = op.site};
  over_rows("dropout", op.x, samples, (sample_size + 3) / 4, work);
}

}  // namespace

void dropout(const Dropout& op) {
  if (op.x.numel() == 0) return;
  const std::int64_t samples = op.x.shape()[0], sample_size = op.x.numel() / samples;
  const bool packed = sample_size % 4 == 0 && aligned_for_packs(op.out.tensor.raw(), op.x.raw());
  dispatch_device_float(op.x.dtype(), "dropout", [&](auto tag) {
    packed ? drop_samples<decltype(tag), true>(op, samples, sample_size)
           : drop_samples<decltype(tag), false>(op, samples, sample_size);
  });
}

}  // namespace accrue::kernels::cuda

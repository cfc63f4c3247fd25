#include "kernels/dropout.h"

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"
#include "kernels/dropout_mask.h"

#ifndef ACCRUE_KERNELS_DROPOUT_ONCE  // the file is compiled once per target, the type is common to all
#define ACCRUE_KERNELS_DROPOUT_ONCE
namespace accrue::kernels::cpu {

// Elements [4 * first_quad, 4 * first_quad + count) of one sample.
struct DropoutPiece {
  float* out;
  const float* x;
  std::int64_t count;
  Write write;
  DropoutMask mask;
  std::uint64_t seed;
  std::uint32_t first_quad, sample, window, site;
};

}  // namespace accrue::kernels::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dropout_cpu.cpp"
#include "kernels/cpu/simd.h"
// After simd.h, which knows the targets.
#include "kernels/cpu/philox-inl.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

// The words of `quads` counters from piece.first_quad + offset on, in the order of the elements: words holds 4 * quads.
HWY_INLINE void draw_words(const DropoutPiece& piece, std::uint32_t offset, std::int64_t quads, std::uint64_t* words) {
  const U64 d;
  const auto per_vector = static_cast<std::int64_t>(hn::Lanes(d));
  const WideWords low = hn::Set(d, 0xffffffffu);
  const PhiloxKeys keys(piece.seed);
  for (std::int64_t quad = 0; quad < quads; quad += 2 * per_vector) {
    // In 64 bits: what exceeds the lower half is ignored, as the 32-bit counter wraps around.
    const std::uint64_t first = std::uint64_t{piece.first_quad} + offset + static_cast<std::uint64_t>(quad);
    Philox a{hn::Iota(d, first), hn::Set(d, piece.sample), hn::Set(d, piece.window), hn::Set(d, piece.site)}, b = a;
    b.c0 = hn::Add(b.c0, hn::Set(d, static_cast<std::uint64_t>(per_vector)));
    philox4x32(a, b, keys);
    const auto store = [&](const Philox& p, std::uint64_t* to) HWY_ATTR {
      const WideWords first_pair = hn::Or(hn::And(p.c0, low), hn::ShiftLeft<32>(p.c1));
      const WideWords second_pair = hn::Or(hn::And(p.c2, low), hn::ShiftLeft<32>(p.c3));
      hn::StoreInterleaved2(first_pair, second_pair, d, to);
    };
    store(a, words + 2 * quad);
    store(b, words + 2 * (quad + per_vector));
  }
}

template <Write write>
HWY_INLINE void drop(const DropoutPiece& piece) {
  constexpr std::int64_t block_quads = 128;  // its words stay in the first-level cache
  HWY_ALIGN std::uint64_t words[2 * block_quads];
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const hn::RebindToUnsigned<F32> du;
  const auto threshold = hn::Set(di, piece.mask.threshold);
  const Floats scale = hn::Set(d, piece.mask.scale);
  for (std::int64_t start = 0; start < piece.count; start += 4 * block_quads) {
    const std::int64_t count = std::min(4 * block_quads, piece.count - start);
    const std::int64_t per_step = 2 * static_cast<std::int64_t>(hn::Lanes(U64()));
    const std::int64_t quads = ((count + 3) / 4 + per_step - 1) / per_step * per_step;
    draw_words(piece, static_cast<std::uint32_t>(start / 4), quads, words);
    const float* x = piece.x + start;
    float* out = piece.out + start;
    over_vectors(count, [&](std::int64_t i, auto access) HWY_ATTR {
      const auto bits = hn::LoadU(du, reinterpret_cast<const std::uint32_t*>(words) + i);
      const auto keep = hn::Gt(hn::BitCast(di, hn::ShiftRight<8>(bits)), threshold);
      Floats kept = hn::IfThenElseZero(hn::RebindMask(d, keep), hn::Mul(access.load(x + i), scale));
      if constexpr (write == Write::accumulate) kept = hn::Add(access.load(out + i), kept);
      access.store(kept, out + i);
    });
  }
}

void drop_piece(const DropoutPiece& piece) {
  if (piece.write == Write::accumulate) return drop<Write::accumulate>(piece);
  drop<Write::overwrite>(piece);
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(drop_piece);

void dropout(const Dropout& op) {
  require_f32("dropout", {{"x", op.x}});
  if (op.x.numel() == 0) return;
  const std::int64_t samples = op.x.shape()[0], size = op.x.numel() / samples;
  float* out = op.out.tensor.data<float>();
  const float* x = op.x.data<float>();
  const DropoutMask mask = DropoutMask::of(op.p);
  constexpr std::int64_t piece_size = 4096;  // a few microseconds; a multiple of four, so that pieces start at a quad
  const std::int64_t pieces = chunk_count(size, piece_size);
  const std::int64_t grain = std::max<std::int64_t>(1, piece_size / size);
  parallel_for(samples * pieces, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t index = begin; index < end; ++index) {
      const std::int64_t sample = index / pieces, start = index % pieces * piece_size;
      HWY_DYNAMIC_DISPATCH(drop_piece)
      ({.out = out + sample * size + start,
        .x = x + sample * size + start,
        .count = std::min(piece_size, size - start),
        .write = op.out.write,
        .mask = mask,
        .seed = op.key.seed,
        .first_quad = static_cast<std::uint32_t>(start / 4),
        .sample = op.key.first_sample + static_cast<std::uint32_t>(sample),
        .window = op.key.window,
        .site = op.site});
    }
  });
}

}  // namespace accrue::kernels::cpu
#endif

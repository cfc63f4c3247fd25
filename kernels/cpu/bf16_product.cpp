// After Goto and van de Geijn (Anatomy of High-Performance Matrix Multiplication, ACM TOMS 34(3), 2008): a strip of
// columns of b is packed for the second-level cache, group_rows rows of a for the first, and every panel of the strip
// meets them there. A thread packs what it needs itself: only a's rows are packed more than once, for each strip.
// docs/decisions/0006-cpu-bf16-products.md has the measurements behind the rows and the depth.
#include "kernels/cpu/bf16_product.h"

#include <algorithm>

#include "core/tensor.h"
#include "kernels/cpu/bf16_panels.h"
#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bf16_product.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

bool is_avx512() {
#if HWY_ARCH_X86
  return HWY_TARGET <= HWY_AVX3;
#else
  return false;
#endif
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(is_avx512);

namespace {

using namespace bf16_panels;

constexpr std::int64_t max_depth = 1024;         // of a part of the sum; even
constexpr std::int64_t strip_bytes = 768 << 10;  // of b, packed
constexpr std::int64_t max_strip_cols = 1536;
constexpr std::int64_t groups_at_a_time = 4;  // of a transposed a: 48 neighbours are three whole cache lines
constexpr std::int64_t packing_overrun = 16;  // pairs that packing may write behind the last

// Parts of nearly equal size, multiples of `multiple`, none longer than `largest`.
std::int64_t part_of(std::int64_t n, std::int64_t largest, std::int64_t multiple) {
  return round_up(chunk_count(n, chunk_count(n, largest)), multiple);
}

// How the product is cut up. The depth, which alone decides on bits, is a function of k.
struct Plan {
  std::int64_t depth, strip_cols, strips, groups;
  std::int64_t a_stride;  // of packed rows, or of groups of a transposed a

  explicit Plan(const Product& p) {
    depth = part_of(p.k, max_depth, 2);
    const std::int64_t fitting = strip_bytes / (2 * depth) / panel_cols * panel_cols;
    strip_cols = part_of(p.n, std::clamp(fitting, panel_cols, max_strip_cols), panel_cols);
    strips = chunk_count(p.n, strip_cols);
    groups = chunk_count(p.m, group_rows);
    a_stride = p.transpose_a ? pairs_of(depth) * group_rows + packing_overrun : pairs_of(depth) + packing_overrun;
  }

  std::int64_t panel_pairs() const { return pairs_of(depth) * panel_cols; }
  std::int64_t b_pairs() const { return strip_cols / panel_cols * panel_pairs(); }
  std::int64_t a_pairs(const Product& p) const {
    return round_up((p.transpose_a ? groups_at_a_time : group_rows) * a_stride + packing_overrun, 16);
  }
};

// What one thread computes of one product: some groups of rows of one strip.
struct Share {
  std::int64_t strip, first_group, last_group;
};

class Worker {
 public:
  Worker(const Plan& plan, const Product& p, Pair* scratch)
      : plan_(plan), p_(p), b_(scratch), a_(scratch + plan.b_pairs()) {}

  void run(const Share& share) {
    col_ = share.strip * plan_.strip_cols;
    cols_ = std::min(plan_.strip_cols, p_.n - col_);
    for (begin_ = 0; begin_ < p_.k; begin_ += plan_.depth) {
      length_ = std::min(plan_.depth, p_.k - begin_);
      pack_strip();
      for (std::int64_t group = share.first_group; group < share.last_group;)
        group = run_groups(group, share.last_group);
    }
  }

 private:
  Pair* panel_at(std::int64_t col) { return b_ + col / panel_cols * plan_.panel_pairs(); }

  void pack_strip() {
    for (std::int64_t col = 0; col < cols_; col += panel_cols) {
      const std::int64_t cols = std::min(panel_cols, cols_ - col);
      if (p_.transpose_b)
        pack_transposed_panel({p_.b + (col_ + col) * p_.k + begin_, p_.k, cols, length_}, panel_at(col));
      else
        pack_panel({p_.b + begin_ * p_.n + col_ + col, p_.n, length_, cols}, panel_at(col));
    }
  }

  // Packs as many groups as are packed at a time and multiplies them; returns the first group behind them.
  std::int64_t run_groups(std::int64_t group, std::int64_t end) {
    const std::int64_t row = group * group_rows, last = std::min(end, group + (p_.transpose_a ? groups_at_a_time : 1));
    const std::int64_t rows = std::min(p_.m, last * group_rows) - row;
    if (p_.transpose_a)
      pack_transposed_groups({p_.a + begin_ * p_.m + row, p_.m, length_, rows}, a_, plan_.a_stride);
    else
      pack_rows({p_.a + row * p_.k + begin_, p_.k, rows, length_}, a_, plan_.a_stride);
    const Pair* packed = a_;
    for (; group < last; ++group, packed += plan_.a_stride) multiply_group(group * group_rows, packed);
    return last;
  }

  void multiply_group(std::int64_t row, const Pair* packed) {
    for (std::int64_t col = 0; col < cols_; col += panel_cols) {
      float* out = p_.out + row * p_.n + col_ + col;
      const bool adds_to_out = p_.accumulate || begin_ > 0;
      const float* added = adds_to_out ? out : p_.bias != nullptr ? p_.bias + col_ + col : nullptr;
      multiply({.out = out,
                .out_row = p_.n,
                .rows = std::min(group_rows, p_.m - row),
                .cols = std::min(panel_cols, cols_ - col),
                .a = packed,
                .a_row = p_.transpose_a ? 1 : plan_.a_stride,
                .a_step = p_.transpose_a ? group_rows : 1,
                .panel = panel_at(col),
                .pairs = pairs_of(length_),
                .added = added,
                .added_row = adds_to_out ? p_.n : 0});
    }
  }

  const Plan& plan_;
  const Product& p_;
  Pair *b_, *a_;
  std::int64_t col_ = 0, cols_ = 0, begin_ = 0, length_ = 0;
};

}  // namespace

// Asked for every product, and so of what Highway has chosen once: to ask the CPU takes a virtual machine 20 us.
bool has_bf16_products() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") && HWY_DYNAMIC_DISPATCH(is_avx512)();
#else
  return false;
#endif
}

void multiply_in_bf16(const Product& first, std::int64_t batch) {
  const Plan plan(first);
  const std::int64_t pairs = plan.b_pairs() + plan.a_pairs(first);
  const std::int64_t units = batch * plan.strips * plan.groups;  // a group of rows of a strip, each
  const Tensor scratch = Tensor::empty({slot_count(units, 1), pairs}, DType::i32, Device::cpu(), Category::workspace);
  parallel_slots(units, 1, [&](std::int64_t slot, std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t strip = begin / plan.groups, group = begin % plan.groups;
      const std::int64_t last_group = std::min(plan.groups, group + end - begin);
      const Product p = first.of_batch(strip / plan.strips);
      Worker(plan, p, reinterpret_cast<Pair*>(scratch.data<std::int32_t>() + slot * pairs))
          .run({.strip = strip % plan.strips, .first_group = group, .last_group = last_group});
      begin += last_group - group;
    }
  });
}

}  // namespace accrue::kernels::cpu
#endif

#include "kernels/embedding.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/require_f32.h"

#ifndef ACCRUE_KERNELS_EMBEDDING_ONCE  // the file is compiled once per target, the types are common to all
#define ACCRUE_KERNELS_EMBEDDING_ONCE
namespace accrue::kernels::cpu {

struct Gather {
  float* y;
  const std::int32_t* ids;
  const float *table, *positions;  // positions may be nullptr
  std::int64_t length, cols;       // T and C
};

// Sums of rows of dy into rows of a gradient. Row k of the work has destination row target[k] (k itself where target is
// nullptr); its sources form a list: from first[target[k]] (k) along next[i] (i + stride where next is nullptr), until
// an index is negative (beyond sources).
struct RowSums {
  float* gradient;
  Write write;
  const float* dy;
  const std::int32_t *target, *first, *next;
  std::int64_t stride, sources, cols, rows;

  // One thread sums a block of columns of one row. Blocks, not rows, are the outer axis of the work: a few rows may be
  // named by most ids, and every thread then gets its columns of them.
  static constexpr std::int64_t block = 64;
  std::int64_t items() const { return chunk_count(cols, block) * rows; }
};

}  // namespace accrue::kernels::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/embedding_cpu.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace accrue::kernels::cpu::HWY_NAMESPACE {

void gather_rows(const Gather& gather, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) {
    float* y = gather.y + i * gather.cols;
    const float* row = gather.table + gather.ids[i] * gather.cols;
    if (gather.positions == nullptr) {
      std::memcpy(y, row, static_cast<std::size_t>(gather.cols) * sizeof(float));
      continue;
    }
    const float* position = gather.positions + i % gather.length * gather.cols;
    over_vectors(gather.cols, [&](std::int64_t c, auto access) HWY_ATTR {
      access.store(hn::Add(access.load(row + c), access.load(position + c)), y + c);
    });
  }
}

// to[0, vectors * lanes()) (+)= the sum, in registers, of the listed rows of `from`.
template <int vectors, class Next>
HWY_INLINE void sum_list(float* to, Write write, const float* from, std::int64_t cols, std::int64_t first, Next next,
                         auto access) {
  Floats sums[vectors];
  for (int v = 0; v < vectors; ++v) sums[v] = access.load(from + first * cols + v * lanes());
  for (std::int64_t i = next(first); i >= 0; i = next(i))
    for (int v = 0; v < vectors; ++v) sums[v] = hn::Add(sums[v], access.load(from + i * cols + v * lanes()));
  for (int v = 0; v < vectors; ++v) {
    float* destination = to + v * lanes();
    access.store(write == Write::accumulate ? hn::Add(access.load(destination), sums[v]) : sums[v], destination);
  }
}

template <class Next>
HWY_INLINE void sum_block(const RowSums& work, std::int64_t item, std::int64_t destination, std::int64_t first,
                          Next next) {
  const std::int64_t from = item / work.rows * RowSums::block, to = std::min(from + RowSums::block, work.cols);
  float* row = work.gradient + destination * work.cols;
  std::int64_t c = from;
  for (; c + 8 * lanes() <= to; c += 8 * lanes())
    sum_list<8>(row + c, work.write, work.dy + c, work.cols, first, next, WholeVector{});
  over_vectors(to - c, [&](std::int64_t i, auto access) HWY_ATTR {
    sum_list<1>(row + c + i, work.write, work.dy + c + i, work.cols, first, next, access);
  });
}

void sum_listed_rows(const RowSums& work, std::int64_t begin, std::int64_t end) {
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t row = work.target[item % work.rows];
    sum_block(work, item, row, work.first[row], [&](std::int64_t i) HWY_ATTR { return std::int64_t{work.next[i]}; });
  }
}

void sum_strided_rows(const RowSums& work, std::int64_t begin, std::int64_t end) {
  for (std::int64_t item = begin; item < end; ++item) {
    const std::int64_t row = item % work.rows;
    sum_block(work, item, row, row, [&](std::int64_t i) HWY_ATTR {
      return i + work.stride < work.sources ? i + work.stride : std::int64_t{-1};
    });
  }
}

}  // namespace accrue::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace accrue::kernels::cpu {

HWY_EXPORT(gather_rows);
HWY_EXPORT(sum_listed_rows);
HWY_EXPORT(sum_strided_rows);

namespace {

void require_ids_below(std::string_view name, const Tensor& ids, std::int64_t rows) {
  const std::int32_t* id = ids.data<std::int32_t>();
  for (std::int64_t i = 0; i < ids.numel(); ++i)
    if (id[i] < 0 || id[i] >= rows) [[unlikely]]
      fail_bad_id(name, {.shape = ids.shape(), .place = i, .id = id[i], .rows = rows});
}

constexpr std::int64_t grain_elements = 16384;

std::int64_t rows_per_grain(std::int64_t cols) {
  return std::max<std::int64_t>(1, grain_elements / std::max<std::int64_t>(cols, 1));
}

// Which positions of the batch name each row of the table, as linked lists in ascending order.
class Occurrences {
 public:
  Occurrences(const Tensor& ids, std::int64_t rows)
      : memory_(Tensor::empty({rows + 2 * ids.numel()}, DType::i32, ids.device(), Category::workspace)),
        first_(memory_.data<std::int32_t>()),
        next_(first_ + rows),
        named_(next_ + ids.numel()) {
    std::fill(first_, first_ + rows, -1);
    const std::int32_t* id = ids.data<std::int32_t>();
    for (std::int64_t i = ids.numel() - 1; i >= 0; --i) {
      std::int32_t& head = first_[id[i]];
      if (head < 0) named_[named_count_++] = id[i];
      next_[i] = head;
      head = static_cast<std::int32_t>(i);
    }
  }
  const std::int32_t* first() const { return first_; }  // per row of the table: a position, or -1
  const std::int32_t* next() const { return next_; }    // per position: the next one that names the same row, or -1
  const std::int32_t* named() const { return named_; }  // the rows that some id names
  std::int64_t named_count() const { return named_count_; }

 private:
  Tensor memory_;
  std::int32_t *first_, *next_, *named_;
  std::int64_t named_count_ = 0;
};

// All rows, those that will be overwritten too: one long run of stores may bypass the caches, many short ones do not.
void clear(float* gradient, std::int64_t rows, std::int64_t cols) {
  parallel_for(rows, rows_per_grain(cols), [&](std::int64_t begin, std::int64_t end) {
    std::memset(gradient + begin * cols, 0, static_cast<std::size_t>((end - begin) * cols) * sizeof(float));
  });
}

void table_gradient(const GradSlot& dtable, const Tensor& dy, const Tensor& ids) {
  const std::int64_t rows = dtable.tensor.shape()[0], cols = dy.shape().last();
  const Occurrences occurrences(ids, rows);
  float* gradient = dtable.tensor.data<float>();
  if (dtable.write == Write::overwrite) clear(gradient, rows, cols);
  if (ids.numel() == 0) return;
  const RowSums work{.gradient = gradient,
                     .write = dtable.write,
                     .dy = dy.data<float>(),
                     .target = occurrences.named(),
                     .first = occurrences.first(),
                     .next = occurrences.next(),
                     .sources = ids.numel(),
                     .cols = cols,
                     .rows = occurrences.named_count()};
  const std::int64_t elements_per_item = std::max<std::int64_t>(1, ids.numel() * RowSums::block / work.rows);
  parallel_for(work.items(), std::max<std::int64_t>(1, grain_elements / elements_per_item),
               [&](std::int64_t begin, std::int64_t end) {
                 HWY_DYNAMIC_DISPATCH(sum_listed_rows)
                 (work, begin, end);
               });
}

void positions_gradient(const GradSlot& dpositions, const Tensor& dy, const Tensor& ids) {
  const std::int64_t rows = dpositions.tensor.shape()[0], cols = dy.shape().last();
  const std::int64_t length = ids.numel() == 0 ? 0 : ids.shape().last();
  float* gradient = dpositions.tensor.data<float>();
  if (dpositions.write == Write::overwrite) clear(gradient + length * cols, rows - length, cols);
  if (length == 0) return;
  const RowSums work{.gradient = gradient,
                     .write = dpositions.write,
                     .dy = dy.data<float>(),
                     .stride = length,
                     .sources = ids.numel(),
                     .cols = cols,
                     .rows = length};
  const std::int64_t elements_per_item = ids.numel() / length * RowSums::block;
  parallel_for(work.items(), std::max<std::int64_t>(1, grain_elements / elements_per_item),
               [&](std::int64_t begin, std::int64_t end) {
                 HWY_DYNAMIC_DISPATCH(sum_strided_rows)
                 (work, begin, end);
               });
}

}  // namespace

void embedding_forward(const EmbeddingForward& op) {
  require_f32("embedding_forward", {{"table", op.table}});
  require_ids_below("embedding_forward", op.ids, op.table.shape()[0]);
  const Gather gather{.y = op.y.data<float>(),
                      .ids = op.ids.data<std::int32_t>(),
                      .table = op.table.data<float>(),
                      .positions = op.positions.defined() ? op.positions.data<float>() : nullptr,
                      .length = op.ids.shape().last(),
                      .cols = op.table.shape().last()};
  parallel_for(op.ids.numel(), rows_per_grain(gather.cols), [&](std::int64_t begin, std::int64_t end) {
    HWY_DYNAMIC_DISPATCH(gather_rows)(gather, begin, end);
  });
}

void embedding_backward(const EmbeddingBackward& op) {
  require_f32("embedding_backward", {{"dy", op.dy}});
  if (op.dtable) {
    require_ids_below("embedding_backward", op.ids, op.dtable.tensor.shape()[0]);
    table_gradient(op.dtable, op.dy, op.ids);
  }
  if (op.dpositions) positions_gradient(op.dpositions, op.dy, op.ids);
}

}  // namespace accrue::kernels::cpu
#endif

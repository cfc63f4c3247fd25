// The forward pass of layer normalisation, alone or behind the sum with a residual.
#pragma once

#include "kernels/cuda/row_team.cuh"

namespace accrue::kernels::cuda {

// sum and residual are nullptr without a residual: x itself is normalised.
template <class T>
struct NormalizeRows {
  T *y, *sum;
  float *mean, *rstd;
  const T *x, *residual, *gamma, *beta;
  std::int64_t rows, cols;
  float eps;
};

struct RowStatistics {
  float shift;  // the mean, rounded by its summation
  float rest;   // mean - shift, a correction
  float rstd;
};

// Two passes: one-pass variance cancels when |mean| >> std. The second pass also sums the deviations themselves, which
// would be 0 for an exact mean: divided by cols they tell how far the first pass was off.
template <class Team, class T>
__device__ RowStatistics statistics_of(const RowPart<Team, T>& row, std::int64_t cols, float eps) {
  __shared__ typename Team::template Scratch<1> total_scratch;
  __shared__ typename Team::template Scratch<2> moment_scratch;
  const float inverse = 1.0f / static_cast<float>(cols);
  float total[1] = {0};
  Team::each_pack(cols, [&](int k, auto at) {
    const Floats<Team::width> x = row.pack(k, at);
#pragma unroll
    for (int i = 0; i < Team::width; ++i) total[0] += x.v[i];
  });
  Team::sum(total, total_scratch);
  const float shift = total[0] * inverse;
  float moments[2] = {0, 0};
  Team::each_pack(cols, [&](int k, auto at) {
    const Floats<Team::width> x = row.pack(k, at);
#pragma unroll
    for (int i = 0; i < Team::width; ++i) {
      const float deviation = x.v[i] - shift;
      moments[0] += deviation;
      moments[1] = fmaf(deviation, deviation, moments[1]);
    }
  });
  Team::sum(moments, moment_scratch);
  const float rest = moments[0] * inverse;
  const float variance = moments[1] * inverse - rest * rest;
  // Not fmaxf, which would turn a NaN into 0.
  return {shift, rest, 1.0f / sqrtf((variance < 0 ? 0 : variance) + eps)};
}

// Stores x + residual, rounded to T, and makes it the row.
template <class Team, class T>
__device__ void add_residual(const NormalizeRows<T>& work, std::int64_t start, RowPart<Team, T>& row) {
  T* sum = work.sum + start;
  Team::each_pack(work.cols, [&](int k, auto at) {
    const Floats<Team::width> x = load<Team::width>(work.x + start + at);
    Floats<Team::width> total = load<Team::width>(work.residual + start + at);
#pragma unroll
    for (int i = 0; i < Team::width; ++i) total.v[i] = to_float(from_float<T>(x.v[i] + total.v[i]));
    store(sum + at, total);
    if constexpr (Team::home == RowHome::registers) row.set(k, total);
  });
  // Every thread reads the elements that it has written itself.
  if constexpr (Team::home == RowHome::memory) row.read(sum, work.cols);
}

template <class Team, bool with_residual, class T>
__global__ void __launch_bounds__(Team::block) normalize_rows_kernel(NormalizeRows<T> work) {
  RowPart<Team, T> gamma, beta;
  gamma.read(work.gamma, work.cols);
  beta.read(work.beta, work.cols);
  const std::int64_t first = std::int64_t{blockIdx.x} * Team::teams_a_block + Team::team();
  for (std::int64_t r = first; r < work.rows; r += std::int64_t{gridDim.x} * Team::teams_a_block) {
    const std::int64_t start = r * work.cols;
    RowPart<Team, T> row;
    if constexpr (with_residual)
      add_residual(work, start, row);
    else
      row.read(work.x + start, work.cols);
    const RowStatistics s = statistics_of(row, work.cols, work.eps);
    const float correction = -s.rest * s.rstd;
    Team::each_pack(work.cols, [&](int k, auto at) {
      Floats<Team::width> y = row.pack(k, at);
      const Floats<Team::width> scale = gamma.pack(k, at), offset = beta.pack(k, at);
#pragma unroll
      for (int i = 0; i < Team::width; ++i)
        y.v[i] = fmaf(fmaf(y.v[i] - s.shift, s.rstd, correction), scale.v[i], offset.v[i]);
      store(work.y + start + at, y);
    });
    if (Team::thread() == 0) {
      work.mean[r] = s.shift + s.rest;
      work.rstd[r] = s.rstd;
    }
  }
}

template <bool with_residual, class T>
void normalize_rows(std::string_view name, const Tensor& on, const NormalizeRows<T>& work) {
  const bool aligned = aligned_for_packs(work.y, work.sum, work.x, work.residual, work.gamma, work.beta);
  dispatch_row_team<pack_width<T>()>(work.cols, aligned, [&](auto team) {
    using Team = decltype(team);
    launch({.name = name, .on = on, .grid = blocks_for_rows<Team>(on, work.rows), .block = Team::block},
           normalize_rows_kernel<Team, with_residual, T>, work);
  });
}

}  // namespace accrue::kernels::cuda

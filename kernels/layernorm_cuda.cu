#include "kernels/cuda/column_sums.cuh"
#include "kernels/cuda/layernorm_forward.cuh"
#include "kernels/layernorm.h"

namespace accrue::kernels::cuda {
namespace {

// dx may be nullptr. dgamma and dbeta are f32 [parts, cols], the sums of each part of the rows alone, or nullptr.
template <class T>
struct BackwardRows {
  T* dx;
  Write write;
  float *dgamma, *dbeta;
  const T *dy, *x, *gamma;
  const float *mean, *rstd;
  std::int64_t rows, cols, rows_per_part;
};

// At least 16 rows a part: the f32 sums of a part, written once and read once, are then a sixth of a half batch's
// traffic at most. At most 1024 parts: enough blocks to fill every GPU, whatever the batch. The partition depends on
// the number of rows alone, so the bits are the same on every GPU.
std::int64_t rows_per_part(std::int64_t rows) { return std::max<std::int64_t>(16, (rows + 1023) / 1024); }

// A thread's share of the sums over the rows of a part: in registers, or in the part's row of the result itself.
template <class Team>
class ColumnSums {
 public:
  __device__ explicit ColumnSums(float* result) : result_(result) {}

  __device__ void add(int k, std::int64_t at, const Floats<Team::width>& terms, bool first_row) {
    if constexpr (Team::home == RowHome::registers) {
#pragma unroll
      for (int i = 0; i < Team::width; ++i) packs_[k].v[i] += terms.v[i];
    } else {
      Floats<Team::width> sum = terms;
      if (!first_row) {
        const Floats<Team::width> old = load<Team::width>(result_ + at);
#pragma unroll
        for (int i = 0; i < Team::width; ++i) sum.v[i] += old.v[i];
      }
      store(result_ + at, sum);
    }
  }

  // Adds the teams of the block up, in their order, and stores the sums. All threads of the block call it.
  __device__ void finish(std::int64_t cols) const {
    if constexpr (Team::teams_a_block > 1) {
      constexpr int team_cols = Team::threads * row_elements_a_thread;
      __shared__ __align__(16) float sums[Team::teams_a_block][team_cols];
      Team::each_pack(cols, [&](int k, int at) { store(&sums[Team::team()][at], packs_[k]); });
      __syncthreads();
      for (int c = static_cast<int>(threadIdx.x); c < cols; c += Team::block) {
        float sum = sums[0][c];
#pragma unroll
        for (int team = 1; team < Team::teams_a_block; ++team) sum += sums[team][c];
        result_[c] = sum;
      }
      __syncthreads();  // the next sums use the same shared memory
    } else if constexpr (Team::home == RowHome::registers) {
      Team::each_pack(cols, [&](int k, int at) { store(result_ + at, packs_[k]); });
    }
  }

 private:
  float* result_;
  Floats<Team::width> packs_[Team::packs] = {};
};

// dx (+)= rstd (g - mean(g) - xhat mean(g xhat)), where sums = {sum of g, sum of g xhat}.
template <class Team, class T>
__device__ void write_dx(const BackwardRows<T>& work, std::int64_t row, const RowPart<Team, T>& dy,
                         const RowPart<Team, T>& x, const RowPart<Team, T>& gamma, const float (&sums)[2]) {
  const float inverse = 1.0f / static_cast<float>(work.cols);
  const float mean_g = sums[0] * inverse, slope = sums[1] * inverse;
  const float mean = work.mean[row], rstd = work.rstd[row];
  T* dx = work.dx + row * work.cols;
  Team::each_pack(work.cols, [&](int k, auto at) {
    const Floats<Team::width> d = dy.pack(k, at), value = x.pack(k, at), scale = gamma.pack(k, at);
    Floats<Team::width> gradient;
#pragma unroll
    for (int i = 0; i < Team::width; ++i) {
      const float normalized = (value.v[i] - mean) * rstd;
      gradient.v[i] = fmaf(-normalized, slope, fmaf(d.v[i], scale.v[i], -mean_g)) * rstd;
    }
    if (work.write == Write::accumulate) {
      const Floats<Team::width> old = load<Team::width>(dx + at);
// Not fused with the product before it: what is accumulated is what would have been stored.
#pragma unroll
      for (int i = 0; i < Team::width; ++i) gradient.v[i] = __fadd_rn(gradient.v[i], old.v[i]);
    }
    store(dx + at, gradient);
  });
}

// A block takes one part of the rows, its teams every teams_a_block-th row of it.
template <class Team, class T>
__global__ void __launch_bounds__(Team::block) backward_rows_kernel(BackwardRows<T> work) {
  __shared__ typename Team::template Scratch<2> scratch[2];
  const std::int64_t begin = blockIdx.x * work.rows_per_part;
  const std::int64_t end = begin + work.rows_per_part < work.rows ? begin + work.rows_per_part : work.rows;
  const bool with_sums = work.dgamma != nullptr;
  ColumnSums<Team> dgamma(work.dgamma + blockIdx.x * work.cols), dbeta(work.dbeta + blockIdx.x * work.cols);
  RowPart<Team, T> gamma;
  gamma.read(work.gamma, work.cols);
  int turn = 0;
  for (std::int64_t row = begin + Team::team(); row < end; row += Team::teams_a_block, turn ^= 1) {
    RowPart<Team, T> dy, x;
    dy.read(work.dy + row * work.cols, work.cols);
    x.read(work.x + row * work.cols, work.cols);
    const float mean = work.mean[row], rstd = work.rstd[row];
    float sums[2] = {0, 0};
    Team::each_pack(work.cols, [&](int k, auto at) {
      const Floats<Team::width> d = dy.pack(k, at), value = x.pack(k, at), scale = gamma.pack(k, at);
      Floats<Team::width> gamma_terms;
#pragma unroll
      for (int i = 0; i < Team::width; ++i) {
        const float normalized = (value.v[i] - mean) * rstd, g = d.v[i] * scale.v[i];
        gamma_terms.v[i] = d.v[i] * normalized;
        sums[0] += g;
        sums[1] = fmaf(g, normalized, sums[1]);
      }
      if (with_sums) {
        dgamma.add(k, at, gamma_terms, row == begin);
        dbeta.add(k, at, d, row == begin);
      }
    });
    if (work.dx == nullptr) continue;
    Team::sum(sums, scratch[turn]);
    write_dx(work, row, dy, x, gamma, sums);
  }
  if (!with_sums) return;
  dgamma.finish(work.cols);
  dbeta.finish(work.cols);
}

template <class T>
void backward_rows(const Tensor& on, const BackwardRows<T>& work) {
  const bool aligned = aligned_for_packs(work.dx, work.dy, work.x, work.gamma, work.dgamma, work.dbeta);
  const auto parts = static_cast<unsigned>((work.rows + work.rows_per_part - 1) / work.rows_per_part);
  dispatch_row_team<pack_width<T>()>(work.cols, aligned, [&](auto team) {
    using Team = decltype(team);
    launch({.name = "layernorm_backward", .on = on, .grid = parts, .block = Team::block}, backward_rows_kernel<Team, T>,
           work);
  });
}

}  // namespace

void layernorm_forward(const LayerNormForward& op) {
  dispatch_device_float(op.x.dtype(), "layernorm_forward", [&](auto tag) {
    using T = decltype(tag);
    normalize_rows<false>("layernorm_forward", op.x,
                          NormalizeRows<T>{.y = elements<T>(op.y),
                                           .mean = op.mean.data<float>(),
                                           .rstd = op.rstd.data<float>(),
                                           .x = elements<T>(op.x),
                                           .gamma = elements<T>(op.gamma),
                                           .beta = elements<T>(op.beta),
                                           .rows = op.x.shape().rows(),
                                           .cols = op.x.shape().last(),
                                           .eps = op.eps});
  });
}

void layernorm_backward(const LayerNormBackward& op) {
  const std::int64_t rows = op.x.shape().rows(), cols = op.x.shape().last(), part = rows_per_part(rows);
  const bool with_sums = op.dgamma || op.dbeta;
  if (!op.dx && !with_sums) return;
  Tensor dgamma, dbeta;
  if (with_sums) {
    const Shape partial{(rows + part - 1) / part, cols};
    dgamma = Tensor::empty(partial, DType::f32, op.x.device(), Category::workspace);
    dbeta = Tensor::empty(partial, DType::f32, op.x.device(), Category::workspace);
  }
  dispatch_device_float(op.x.dtype(), "layernorm_backward", [&](auto tag) {
    using T = decltype(tag);
    backward_rows(op.x, BackwardRows<T>{.dx = op.dx ? elements<T>(op.dx.tensor) : nullptr,
                                        .write = op.dx.write,
                                        .dgamma = with_sums ? dgamma.data<float>() : nullptr,
                                        .dbeta = with_sums ? dbeta.data<float>() : nullptr,
                                        .dy = elements<T>(op.dy),
                                        .x = elements<T>(op.x),
                                        .gamma = elements<T>(op.gamma),
                                        .mean = op.mean.data<float>(),
                                        .rstd = op.rstd.data<float>(),
                                        .rows = rows,
                                        .cols = cols,
                                        .rows_per_part = part});
  });
  if (op.dgamma) add_parts("layernorm_backward", op.dgamma, dgamma);
  if (op.dbeta) add_parts("layernorm_backward", op.dbeta, dbeta);
}

}  // namespace accrue::kernels::cuda

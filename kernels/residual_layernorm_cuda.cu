#include "kernels/cuda/layernorm_forward.cuh"
#include "kernels/residual_layernorm.h"

namespace accrue::kernels::cuda {

void residual_layernorm(const ResidualLayerNorm& op) {
  dispatch_device_float(op.x.dtype(), "residual_layernorm", [&](auto tag) {
    using T = decltype(tag);
    normalize_rows<true>("residual_layernorm", op.x,
                         NormalizeRows<T>{.y = elements<T>(op.y),
                                          .sum = elements<T>(op.sum),
                                          .mean = op.mean.data<float>(),
                                          .rstd = op.rstd.data<float>(),
                                          .x = elements<T>(op.x),
                                          .residual = elements<T>(op.residual),
                                          .gamma = elements<T>(op.gamma),
                                          .beta = elements<T>(op.beta),
                                          .rows = op.x.shape().rows(),
                                          .cols = op.x.shape().last(),
                                          .eps = op.eps});
  });
}

}  // namespace accrue::kernels::cuda

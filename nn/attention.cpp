#include "kernels/attention.h"

#include <cmath>

#include "nn/functional.h"
#include "nn/gradients.h"

namespace accrue::nn {

Tensor causal_attention(Tape& tape, const Tensor& qkv, int heads, float p, std::uint32_t site) {
  check(qkv.shape().rank() == 3 && heads >= 1 && qkv.shape().last() % (3 * std::int64_t{heads}) == 0,
        "causal_attention: qkv must have shape [batch, time, 3 * width] with a width divisible by {} heads, but has {}",
        heads, qkv.shape());
  const std::int64_t batch = qkv.shape()[0], time = qkv.shape()[1], width = qkv.shape()[2] / 3;
  const float scale = 1.0f / std::sqrt(static_cast<float>(width / heads));
  const float active_p = tape.context().training ? p : 0.0f;
  const RandomKey key = tape.context().random;
  const Tensor y = Tensor::empty({batch, time, width}, qkv.dtype(), qkv.device());
  const Tensor logsumexp = Tensor::empty({batch, heads, time}, DType::f32, qkv.device());
  kernels::attention_forward({.y = y,
                              .logsumexp = logsumexp,
                              .qkv = qkv,
                              .heads = heads,
                              .scale = scale,
                              .dropout_p = active_p,
                              .key = key,
                              .site = site});
  tape.record("causal_attention", y, [=](Tape& t) {
    const Tensor dqkv = empty_like(qkv);
    kernels::attention_backward({.dqkv = dqkv,
                                 .dy = t.grad(y),
                                 .y = y,
                                 .logsumexp = logsumexp,
                                 .qkv = qkv,
                                 .heads = heads,
                                 .scale = scale,
                                 .dropout_p = active_p,
                                 .key = key,
                                 .site = site});
    t.contribute(qkv, dqkv, add_gradient);
  });
  return y;
}

}  // namespace accrue::nn

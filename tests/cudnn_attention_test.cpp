// cuDNN's attention beside Accrue's own kernels, on a GPU.
#include <gtest/gtest.h>

#include <cmath>

#include "core/cuda_devices.h"
#include "kernels/attention.h"
#include "kernels/attention_kernel.h"
#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::cudnn_attention_test {
namespace {

using namespace accrue::testing;

struct Result {
  Tensor y, logsumexp, dqkv;
};

Result attention(AttentionKernel kernel, const Tensor& qkv, const Tensor& dy, int heads) {
  const AttentionKernel before = attention_kernel();
  set_attention_kernel(kernel);
  const std::int64_t batch = qkv.shape()[0], tokens = qkv.shape()[1];
  const float scale = 1.0f / std::sqrt(static_cast<float>(dy.shape().last() / heads));
  Result r{empty_like(dy), Tensor::empty({batch, heads, tokens}, DType::f32, qkv.device()), empty_like(qkv)};
  attention_forward({.y = r.y, .logsumexp = r.logsumexp, .qkv = qkv, .heads = heads, .scale = scale});
  attention_backward(
      {.dqkv = r.dqkv, .dy = dy, .y = r.y, .logsumexp = r.logsumexp, .qkv = qkv, .heads = heads, .scale = scale});
  set_attention_kernel(before);
  return r;
}

// Both round probabilities and results to the half dtype: norms differ by a few of its units.
TEST(CudnnAttention, AgreesWithTheNativeKernels) {
  if (!accrue::cuda::usable(0)) GTEST_SKIP() << accrue::cuda::why_unavailable();
  if (!why_no_cudnn().empty()) GTEST_SKIP() << why_no_cudnn();
  for (const DType dtype : {DType::f16, DType::bf16})
    for (const std::int64_t head_size : {64, 128})
      for (const std::int64_t tokens : {64, 100, 256}) {
        SCOPED_TRACE(fmt::format("{} heads of {}, {} tokens", name_of(dtype), head_size, tokens));
        const int heads = 3;
        const std::int64_t channels = heads * head_size;
        const Tensor qkv = random_tensor({2, tokens, 3 * channels}, 1, dtype, Device::cuda());
        const Tensor dy = random_tensor({2, tokens, channels}, 2, dtype, Device::cuda());
        const Result native = attention(AttentionKernel::native, qkv, dy, heads);
        const Result cudnn = attention(AttentionKernel::cudnn, qkv, dy, heads);
        const double bound = 8 * unit_roundoff(dtype);
        EXPECT_LE(relative_error(to_doubles(cudnn.y), to_doubles(native.y)), bound);
        EXPECT_LE(relative_error(to_doubles(cudnn.logsumexp), to_doubles(native.logsumexp)), 1e-4);
        EXPECT_LE(relative_error(to_doubles(cudnn.dqkv), to_doubles(native.dqkv)), bound);
      }
}

TEST(CudnnAttention, IsRefusedWithTheReasonWhereItIsNot) {
  if (why_no_cudnn().empty()) GTEST_SKIP() << "cuDNN can be used here";
  const AttentionKernel before = attention_kernel();
  EXPECT_EQ(error_message([] { set_attention_kernel(AttentionKernel::cudnn); }, ErrorKind::no_device),
            "--attention cudnn: " + why_no_cudnn() + "; use --attention auto or native");
  EXPECT_EQ(attention_kernel(), before);
}

}  // namespace
}  // namespace accrue::kernels::cudnn_attention_test

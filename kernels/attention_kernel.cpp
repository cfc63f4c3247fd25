#include "kernels/attention_kernel.h"

#include <atomic>

#include "core/check.h"

namespace accrue::kernels {
namespace {

std::atomic<AttentionKernel> chosen = AttentionKernel::automatic;

}  // namespace

void set_attention_kernel(AttentionKernel kernel) {
  // Asked only where cuDNN is wanted: the question loads the library.
  const std::string why = kernel == AttentionKernel::cudnn ? why_no_cudnn() : "";
  if (!why.empty()) fail(ErrorKind::no_device, "--attention cudnn: {}; use --attention auto or native", why);
  chosen = kernel;
}

AttentionKernel attention_kernel() { return chosen; }

}  // namespace accrue::kernels

#include "kernels/attention_kernel.h"

#include <atomic>

#include "core/check.h"

namespace accrue::kernels {
namespace {

std::atomic<AttentionKernel> chosen = AttentionKernel::automatic;

}  // namespace

void set_attention_kernel(AttentionKernel kernel) {
  if (const std::string why = why_no_cudnn(); kernel == AttentionKernel::cudnn && !why.empty())
    fail(ErrorKind::no_device, "--attention cudnn: {}; use --attention auto or native", why);
  chosen = kernel;
}

AttentionKernel attention_kernel() { return chosen; }

}  // namespace accrue::kernels

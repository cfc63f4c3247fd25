// A build without cuDNN.
#include "kernels/attention_kernel.h"
#include "kernels/cuda/cudnn_attention.h"

namespace accrue::kernels {

std::string why_no_cudnn() {
  return "this build of Accrue has no cuDNN (docs/gpu.md says how to have it; --attention native needs none)";
}

namespace cuda {

bool cudnn_attention_forward(const AttentionForward&) { return false; }
bool cudnn_attention_backward(const AttentionBackward&) { return false; }

}  // namespace cuda
}  // namespace accrue::kernels

// cuDNN's fused attention behind kernels/attention.h. cudnn/attention.cpp has it where the build has cuDNN, else
// kernels/cudnn_attention_none.cpp stands in.
#pragma once

#include "kernels/attention.h"

namespace accrue::kernels::cuda {

// Compute the operation and return true, or return false where cuDNN does not take it. logsumexp is what the native
// kernels write, so that forward and backward need not come from the same side.
bool cudnn_attention_forward(const AttentionForward& op);
bool cudnn_attention_backward(const AttentionBackward& op);

}  // namespace accrue::kernels::cuda

// Which code computes attention on a GPU.
#pragma once

#include <string>

namespace accrue::kernels {

// native: Accrue's own kernels, for every shape. cudnn: cuDNN's fused attention where it takes the operands (f16 or
// bf16, heads of a multiple of 8 up to 128, a positive scale, no dropout) and native elsewhere. automatic: cudnn where
// this build has it and the machine's library can be loaded, else native. The CPU has one kernel.
enum class AttentionKernel { automatic, native, cudnn };

// Of the whole process from now on; automatic unless set. Throws Error(no_device) for cudnn where it cannot be used,
// with the reason.
void set_attention_kernel(AttentionKernel kernel);
AttentionKernel attention_kernel();

// Why cuDNN's attention cannot be used here; empty where it can.
std::string why_no_cudnn();

}  // namespace accrue::kernels

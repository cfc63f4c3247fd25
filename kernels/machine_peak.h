// What the machine reaches at best, measured in this process the first time that somebody asks. Takes 512 MiB of the
// device for a moment, on a GPU up to 768 MiB.
#pragma once

#include "core/device.h"
#include "core/dtype.h"
#include "kernels/matmul_precision.h"

namespace accrue::kernels {

// Bytes read and written a second by a copy that no cache can hold.
double copy_peak(Device device);

// FLOP/s of matrix products: on a GPU those of the largest products of such operands that are worth waiting for; on the
// CPU multiply-adds on every core, nothing loaded or stored: in bf16 where the precision asks for it and the CPU has
// them, else fused ones in f32.
double product_peak(Device device, DType dtype, MatmulPrecision precision);

// Fused multiply-adds on every core for some milliseconds: their FLOP/s.
double multiply_add_rate();
// The same of bf16's pairs, which only CPUs with AVX512_BF16 have (kernels/cpu/bf16_product.h).
double bf16_multiply_add_rate();

}  // namespace accrue::kernels

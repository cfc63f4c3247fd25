// What the machine reaches at best, measured in this process the first time that somebody asks.
#pragma once

#include "bench/bench.h"

namespace accrue::bench {

// Bytes read and written a second by a copy that no cache can hold.
double copy_peak(Device device);

// FLOP/s of matrix products: on a GPU those of the largest products of the variant's operands that are worth waiting
// for; on the CPU fused multiply-adds in f32 on every core, nothing loaded or stored.
double product_peak(const Variant& variant);

// Fused multiply-adds on every core for some tens of milliseconds: their FLOP/s.
double multiply_add_rate();

}  // namespace accrue::bench

// How many CPU threads the kernels use.
#pragma once

namespace accrue::kernels {

// Applies to the calling thread and whatever it starts; at least 1.
void set_thread_count(int threads);
int thread_count();

}  // namespace accrue::kernels

// How many CPU threads the kernels use.
#pragma once

#include <functional>

namespace accrue::kernels {

// The number of threads of the kernels that the calling thread calls from here on; other threads keep their own number
// (as many as the machine has cores, unless OMP_NUM_THREADS says otherwise). Throws Error(internal) for less than 1.
void set_thread_count(int threads);
int thread_count();

// Makes the call once on each of these threads, the calling one among them.
void on_every_thread(const std::function<void()>& call);

}  // namespace accrue::kernels

// Where the time of one window went, and how that compares with what the machine can do.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "train/operation_recorder.h"

namespace accrue::train {

struct WindowProfile {
  std::int64_t window = 0;      // its number in the run, from 0
  std::int64_t of_process = 0;  // and among those that this process ran, from 1
  std::int64_t micro_batches = 0, samples = 0;
  std::int64_t samples_before = 0;  // that had arrived when the window was resumed
  Recording recording;
};

// A second. 0 where it could not be measured.
struct MachinePeaks {
  double product_flop = 0;  // of matrix products
  double other_flop = 0;    // of what else multiplies and adds
  double copied_bytes = 0;
  std::string why_unknown;
};

// kernels/machine_peak.h for operands of that dtype: matrix products as they are computed now; the rest, on the CPU, in
// f32, and on a GPU, where attention is products as well, the same. For a while takes hundreds of MiB of the
// device; where they are not there, the peaks stay unknown.
MachinePeaks measure_peaks(Device device, DType compute);

// The time that a call of that operation would take at the peak that bounds it; 0 where the peaks are unknown.
double ideal_seconds(std::string_view operation, const kernels::OperationCost& cost, const MachinePeaks& peaks);

// All calls of one operation.
struct ProfileRow {
  std::string_view name;
  std::int64_t calls = 0;
  double seconds = 0;  // without calls inside them
  kernels::OperationCost cost;
  double ideal_seconds = 0;
};

// The operations that took longest first; then the time outside of them. Their seconds add up to the recording's.
std::vector<ProfileRow> profile_rows(const Recording& recording, const MachinePeaks& peaks);

}  // namespace accrue::train

#include "train/window_profile.h"

#include <algorithm>
#include <map>

#include "core/allocator.h"
#include "kernels/machine_peak.h"
#include "kernels/matmul_precision.h"

namespace accrue::train {

MachinePeaks measure_peaks(Device device, DType compute) {
  MachinePeaks peaks;
  try {
    const kernels::MatmulPrecision products = kernels::matmul_precision();
    peaks.product_flop = kernels::product_peak(device, compute, products);
    peaks.other_flop = device.kind == DeviceKind::cpu
                           ? kernels::product_peak(device, compute, kernels::MatmulPrecision::f32)
                           : peaks.product_flop;
    peaks.copied_bytes = kernels::copy_peak(device);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    peaks = {.why_unknown = error.what()};
  }
  Allocator::of(device).release_cached();
  return peaks;
}

double ideal_seconds(std::string_view operation, const kernels::OperationCost& cost, const MachinePeaks& peaks) {
  if (peaks.product_flop == 0 || peaks.copied_bytes == 0) return 0;
  const double flop = operation == "matmul" ? peaks.product_flop : peaks.other_flop;
  return std::max(cost.flop / flop, cost.bytes / peaks.copied_bytes);
}

std::vector<ProfileRow> profile_rows(const Recording& recording, const MachinePeaks& peaks) {
  std::map<std::string_view, ProfileRow> by_name;
  double inside = 0;
  for (const OperationCall& call : recording.calls) {
    ProfileRow& row = by_name[call.name];
    row.name = call.name;
    ++row.calls;
    row.seconds += call.self;
    row.cost.flop += call.cost.flop;
    row.cost.bytes += call.cost.bytes;
    row.ideal_seconds += ideal_seconds(call.name, call.cost, peaks);
    inside += call.self;
  }
  std::vector<ProfileRow> rows;
  for (const auto& [name, row] : by_name) rows.push_back(row);
  std::ranges::stable_sort(rows, [](const ProfileRow& a, const ProfileRow& b) { return a.seconds > b.seconds; });
  rows.push_back({.name = "outside of operations", .seconds = recording.seconds - inside});
  return rows;
}

}  // namespace accrue::train

#include "train/profile_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "train/window_profiler.h"

namespace accrue::train {
namespace {

constexpr char row_format[] = "{:<{}}  {:>6}  {:>9}  {:>11}  {:>8}  {:>7}  {:>9}\n";

std::string number_or_dash(double value, int decimals) {
  return value > 0 && std::isfinite(value) ? fmt::format("{:.{}f}", value, decimals) : "–";
}

std::string table_line(const ProfileRow& row, double window_seconds, std::size_t width) {
  return fmt::format(
      row_format, row.name, width, row.calls > 0 ? fmt::format("{}", row.calls) : "–",
      fmt::format("{:.3f}", 1e3 * row.seconds), fmt::format("{:.1f}", 100 * row.seconds / window_seconds),
      number_or_dash(1e-9 * row.cost.flop / row.seconds, 1), number_or_dash(1e-9 * row.cost.bytes / row.seconds, 1),
      number_or_dash(100 * row.ideal_seconds / row.seconds, 1));
}

std::string counted(std::int64_t count, const char* thing, const char* things) {
  return fmt::format("{} {}", count, count == 1 ? thing : things);
}

std::string heading(const WindowProfile& profile, const std::string& device) {
  const bool is_rest = profile.samples_before > 0, is_cold = profile.of_process < WindowProfiler::warm;
  return fmt::format(
      "Profile of {}window {}, number {} of this process{}: {}, {}, {:.1f} ms on {}\n", is_rest ? "the rest of " : "",
      profile.window, profile.of_process,
      is_cold ? fmt::format(" (not warm yet: with more --steps it is number {})", WindowProfiler::warm) : "",
      counted(profile.micro_batches, "micro-batch", "micro-batches"), counted(profile.samples, "sample", "samples"),
      1e3 * profile.recording.seconds, device);
}

std::string peak_line(const MachinePeaks& peaks) {
  if (!peaks.why_unknown.empty()) return fmt::format("peak: not measured ({})\n", peaks.why_unknown);
  const std::string others = peaks.other_flop == peaks.product_flop
                                 ? std::string()
                                 : fmt::format("{:.1f} GFLOP/s of the rest, ", 1e-9 * peaks.other_flop);
  return fmt::format("peak: {:.1f} GFLOP/s of products, {}{:.1f} GB/s copied, measured before the training\n",
                     1e-9 * peaks.product_flop, others, 1e-9 * peaks.copied_bytes);
}

}  // namespace

std::string profile_table(const WindowProfile& profile, const MachinePeaks& peaks, const std::string& device) {
  const std::vector<ProfileRow> rows = profile_rows(profile.recording, peaks);
  std::size_t width = 0;
  ProfileRow total{.name = "the window"};
  for (const ProfileRow& row : rows) {
    width = std::max(width, row.name.size());
    total.calls += row.calls;
    total.seconds += row.seconds;
    total.cost.flop += row.cost.flop;
    total.cost.bytes += row.cost.bytes;
    total.ideal_seconds += row.ideal_seconds;
  }
  std::string text =
      heading(profile, device) + peak_line(peaks) + "\n" +
      fmt::format(row_format, "operation", width, "calls", "total ms", "% of window", "GFLOP/s", "GB/s", "% of peak");
  for (const ProfileRow& row : rows) text += table_line(row, profile.recording.seconds, width);
  return text + table_line(total, profile.recording.seconds, width);
}

}  // namespace accrue::train

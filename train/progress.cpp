#include "train/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace accrue::train {
namespace {

std::size_t terminal_width(std::FILE* stream) {
  winsize size{};
  const bool known = ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace

std::string format_bytes(std::size_t bytes) {
  static constexpr std::array<const char*, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < units.size()) value /= 1024, ++unit;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  if (total < 60) return fmt::format("{}s", total);
  if (total < 3600) return fmt::format("{}m {:02}s", total / 60, total % 60);
  return fmt::format("{}h {:02}m", total / 3600, total / 60 % 60);
}

std::string format_count(double count) {
  if (!std::isfinite(count)) return "?";
  const std::string digits = fmt::format("{:.0f}", std::abs(count));
  std::string text = count <= -0.5 ? "-" : "";
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text.push_back(',');
    text.push_back(digits[i]);
  }
  return text;
}

std::string format_progress(const ProgressState& s, std::size_t width) {
  std::string line = fmt::format("update {}/{}  loss {:.4f}", s.update, s.total, s.loss);
  if (s.validation_loss) line += fmt::format("  validation {:.4f}", *s.validation_loss);
  line += fmt::format("  norm {:.3g}  {} {}/s", s.grad_norm, format_count(s.rate), s.unit);
  if (s.remaining_seconds) line += fmt::format("  {} left", format_duration(*s.remaining_seconds));
  line += fmt::format("  peak {}", format_bytes(s.peak_bytes));
  return width > 0 && line.size() > width ? line.substr(0, width) : line;
}

Progress::Progress(std::FILE* stream, std::int64_t every)
    : stream_(stream), every_(std::max<std::int64_t>(every, 1)), terminal_(isatty(fileno(stream)) != 0) {}

void Progress::show(const ProgressState& state) {
  const bool keep = state.validation_loss.has_value();
  if (terminal_) {
    // The last column stays free: a character there makes some terminals wrap.
    fmt::print(stream_, "\r{}\x1b[K{}", format_progress(state, terminal_width(stream_) - 1), keep ? "\n" : "");
    open_line_ = !keep;
  } else if (keep || state.update % every_ == 0 || state.update == state.total) {
    fmt::print(stream_, "{}\n", format_progress(state));
  }
  std::fflush(stream_);
}

void Progress::finish() {
  if (open_line_) std::fputc('\n', stream_);
  open_line_ = false;
  std::fflush(stream_);
}

}  // namespace accrue::train

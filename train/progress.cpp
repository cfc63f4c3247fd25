#include "train/progress.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/format_bytes.h"

namespace accrue::train {
namespace {

// The sign of a NaN says nothing.
double shown(double number) { return std::isnan(number) ? std::abs(number) : number; }

std::string whole_line(const ProgressState& s) {
  std::string line = fmt::format("update {}/{}  loss {:.4f}", s.update, s.total, shown(s.loss));
  if (s.validation_loss) line += fmt::format("  validation {:.4f}", *s.validation_loss);
  line += fmt::format("  norm {:.3g}  {} {}/s", shown(s.grad_norm), format_count(s.rate), s.unit);
  if (s.remaining_seconds) line += fmt::format("  {} left", format_duration(*s.remaining_seconds));
  return line + fmt::format("  peak {}", format_bytes(s.peak_bytes));
}

// "21.0k"
std::string short_count(double count) {
  if (!(std::abs(count) >= 1000)) return format_count(count);
  static constexpr std::array<const char*, 4> units = {"k", "M", "G", "T"};
  std::size_t unit = 0;
  for (count /= 1000; std::abs(count) >= 999.95 && unit + 1 < units.size(); ++unit) count /= 1000;
  return fmt::format("{:.1f}{}", count, units[unit]);
}

// The same numbers with few words; without `spare` columns also in shorter notations.
std::string short_line(const ProgressState& s, bool spare) {
  const char* gap = spare ? "  " : " ";
  std::string line = fmt::format("{}/{}{}loss {:.4f}", s.update, s.total, gap, shown(s.loss));
  if (s.validation_loss) line += fmt::format("{}validation {:.4f}", gap, *s.validation_loss);
  line += fmt::format("{0}norm {1:.3g}{0}{2} {3}/s", gap, shown(s.grad_norm),
                      spare ? format_count(s.rate) : short_count(s.rate), s.unit);
  if (s.remaining_seconds)
    line += fmt::format("{}{}{}", gap, format_duration(*s.remaining_seconds), spare ? " left" : "");
  return line + gap + format_bytes(s.peak_bytes);
}

}  // namespace

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
  const std::string whole = whole_line(s);
  if (width == 0 || whole.size() <= width) return whole;
  for (const bool spare : {true, false}) {
    const std::string line = short_line(s, spare);
    if (line.size() <= width) return line;
  }
  return short_line(s, false).substr(0, width);
}

Progress::Progress(Console& console, std::int64_t every)
    : console_(console), every_(std::max<std::int64_t>(every, 1)), terminal_(console.is_terminal()) {}

void Progress::show(const ProgressState& state) {
  const bool keep = state.validation_loss.has_value();
  if (terminal_) {
    // The last column stays free: a character there makes some terminals wrap.
    const std::size_t width = keep ? 0 : console_.width() - 1;
    console_.print("\r\x1b[K{}{}", format_progress(state, width), keep ? "\n" : "");
    open_line_ = !keep;
  } else if (keep || state.update % every_ == 0 || state.update == state.total) {
    console_.print("{}\n", format_progress(state));
  }
}

void Progress::finish() {
  if (open_line_) console_.write("\n");
  open_line_ = false;
}

}  // namespace accrue::train

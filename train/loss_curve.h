// A run's losses, read back from its log and drawn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace accrue::train {

struct LossCurve {
  std::vector<std::pair<double, double>> train, validation;  // update, loss
};

// All bytes that are allocated for a log, however briefly, are at most this many for each of its bytes and a constant
// besides: the trees' (train/json_file.h) and those of the points.
inline constexpr std::size_t metrics_allocation_per_byte = 80;
inline constexpr std::size_t metrics_allocation_constant = 16 << 10;

// Reads metrics.jsonl. Throws Error(no_input) if it is missing, Error(bad_data) naming the first line that is longer
// than longest_metrics_line or not an object with a number "update" and a "loss", which like "validation_loss" is a
// number, or "NaN", "Infinity" or "-Infinity": those are NaN here.
LossCurve read_loss_curve(const std::filesystem::path& metrics);
// The same for the text of the file; `name` stands for it in errors.
LossCurve parse_loss_curve(std::span<const std::uint8_t> text, std::string_view name);

// Both curves as text; `unicode` false for terminals without UTF-8.
std::string draw_loss_curve(const LossCurve& curve, bool unicode);

// Whether the environment's locale says that the terminal shows UTF-8.
bool locale_is_utf8();

}  // namespace accrue::train

// A run's losses, read back from its log and drawn.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace accrue::train {

struct LossCurve {
  std::vector<std::pair<double, double>> train, validation;  // update, loss
};

// Reads metrics.jsonl. Throws Error(no_input) if it is missing, Error(bad_data) naming the first line that is not an
// object with a numeric "update" and a "loss". Losses logged as "NaN" or "Infinity" are NaN here.
LossCurve read_loss_curve(const std::filesystem::path& metrics);

// Both curves as text; `unicode` false for terminals without UTF-8.
std::string draw_loss_curve(const LossCurve& curve, bool unicode);

// Whether the environment's locale says that the terminal shows UTF-8.
bool locale_is_utf8();

}  // namespace accrue::train

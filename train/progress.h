// What a training run shows while it runs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "train/console.h"

namespace accrue::train {

struct ProgressState {
  std::int64_t update = 0, total = 0;
  double loss = 0, grad_norm = 0;
  double rate = 0;  // tokens or samples a second
  std::string unit = "tokens";
  std::optional<double> remaining_seconds;
  std::size_t peak_bytes = 0;
  std::optional<double> validation_loss;
};

// "update 40/1000  loss 2.3456  norm 0.81  21,000 tokens/s  3m 05s left  peak 35.2 MiB". In `width` columns (0: any
// number) as much of that wording as fits: words go before numbers, and only a width that no line fits is cut at.
std::string format_progress(const ProgressState& state, std::size_t width = 0);
std::string format_duration(double seconds);  // "3m 05s", "1h 02m"
std::string format_count(double count);       // "21,000"

// On a terminal one line is rewritten in place; elsewhere every `every`-th update, and the last, gets a line of its
// own. An update with a validation loss always leaves a line, which is whole on a terminal of any width. Output that
// cannot be written is left out.
class Progress {
 public:
  Progress(Console& console, std::int64_t every);
  // Ends an open line, so that the message of an error begins on one of its own.
  ~Progress() { finish(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void show(const ProgressState& state);
  // Ends the line that is being rewritten, if there is one.
  void finish();

 private:
  Console& console_;
  std::int64_t every_;
  bool terminal_;
  bool open_line_ = false;
};

}  // namespace accrue::train

// Ctrl-C and a supervisor's SIGTERM as a request that a training run can answer between two windows.
#pragma once

#include <csignal>

namespace accrue::train {

// While it lives, SIGINT and SIGTERM only set a flag. A second SIGINT has its default action again and ends the process
// at once: whoever presses Ctrl-C twice does not want to wait. A signal that was ignored before (a job in a shell's
// background) stays ignored.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() const;

 private:
  struct sigaction interrupt_ = {}, terminate_ = {};  // what was installed before
};

}  // namespace accrue::train

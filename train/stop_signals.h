// Ctrl-C and a supervisor's SIGTERM as a request that a training run can answer, and the signals that must not end it.
#pragma once

#include <array>
#include <csignal>
#include <string_view>

namespace accrue::train {

// While it lives, SIGINT and SIGTERM only set a flag. A second SIGINT has its default action again and ends the process
// at once: whoever presses Ctrl-C twice does not want to wait. A second SIGTERM changes nothing: supervisors repeat it.
// SIGHUP and SIGPIPE are ignored: a terminal, an ssh session or a reader of the output that goes away must not end days
// of training. A signal that was ignored before (a job in a shell's background, nohup) stays ignored. Whichever thread
// the system gives a signal to, it counts for the process. One at a time.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  bool requested() const;
  // Since the first request came, on a clock that nobody sets; 0 before it.
  double seconds_since_request() const;
  // Of the first request: "SIGINT" or "SIGTERM"; empty before it.
  std::string_view signal_name() const;

 private:
  struct Replaced {
    int signal;
    struct sigaction before;
  };
  std::array<Replaced, 4> replaced_;
};

}  // namespace accrue::train

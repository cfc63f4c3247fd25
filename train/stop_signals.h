// Ctrl-C and a supervisor's SIGTERM as a request that a training run can answer, and the signals that must not end it.
#pragma once

#include <array>
#include <csignal>
#include <semaphore>
#include <string_view>
#include <thread>

namespace accrue::train {

// While it lives, SIGINT and SIGTERM only set a flag. A second SIGINT has its default action again and ends the process
// at once: whoever presses Ctrl-C twice does not want to wait. A second SIGTERM changes nothing: supervisors repeat it.
// SIGHUP and SIGPIPE are ignored: a terminal, an ssh session or a reader of the output that goes away must not end days
// of training; SIGXFSZ is, so that a limit of the files' size is an error like a full disk. A signal that was ignored
// before (a job in a shell's background, nohup) stays ignored. One at a time.
//
// SIGINT and SIGTERM are for a thread of its own: they are blocked in the thread that constructs this, in those that
// the kernels compute with, and in all that these start. oneDNN's generated code computes with a stack pointer into its
// workspace, and a handler that ran there would overwrite whatever lies before that on the heap.
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
  std::array<Replaced, 5> replaced_;
  sigset_t mask_before_;
  std::binary_semaphore end_{0};
  std::thread receiver_;
};

}  // namespace accrue::train

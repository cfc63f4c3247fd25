#include "train/stop_signals.h"

#include <unistd.h>

namespace accrue::train {
namespace {

volatile std::sig_atomic_t stop_requested = 0, somebody_reads = 0;

void request_stop(int) {
  stop_requested = 1;
  static constexpr char message[] = "\nstopping when this window has ended (a second Ctrl-C: at once)\n";
  // Nothing can be done about a message that cannot be written.
  if (somebody_reads != 0 && write(STDERR_FILENO, message, sizeof message - 1) < 0) return;
}

struct sigaction install(int signal, int flags) {
  struct sigaction previous = {};
  sigaction(signal, nullptr, &previous);
  if (previous.sa_handler == SIG_IGN) return previous;
  struct sigaction action = {};
  action.sa_handler = request_stop;
  action.sa_flags = flags | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
  return previous;
}

}  // namespace

StopSignals::StopSignals() {
  stop_requested = 0;
  somebody_reads = isatty(STDERR_FILENO);
  interrupt_ = install(SIGINT, SA_RESETHAND);
  terminate_ = install(SIGTERM, 0);
}

StopSignals::~StopSignals() {
  sigaction(SIGINT, &interrupt_, nullptr);
  sigaction(SIGTERM, &terminate_, nullptr);
}

bool StopSignals::requested() const { return stop_requested != 0; }

}  // namespace accrue::train

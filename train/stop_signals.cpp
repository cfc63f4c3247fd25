#include "train/stop_signals.h"

#include <poll.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "core/check.h"
#include "kernels/threads.h"

namespace accrue::train {
namespace {

// A handler may run in any thread, between any two instructions of it: a lock could be held there already.
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);
std::atomic<std::int64_t> requested_at = 0;  // nanoseconds of CLOCK_MONOTONIC; 0: not yet
std::atomic<int> requested_by = 0;           // stored after the time, so that who sees it sees the time
std::atomic<bool> somebody_reads = false, one_lives = false;

std::int64_t monotonic_nanoseconds() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

void announce_stop() {
  static constexpr char message[] = "\nstopping: finishing this micro-batch, then saving (a second Ctrl-C: at once)\n";
  // A terminal that takes nothing, as after Ctrl-S, is not waited for: the handler would never end.
  pollfd room{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (!somebody_reads || poll(&room, 1, 0) != 1) return;
  // Nothing can be done about a message that cannot be written.
  if (write(STDERR_FILENO, message, sizeof message - 1) < 0) return;
}

void request_stop(int signal) {
  const int interrupted_errno = errno;  // the code that was interrupted may be about to look at it
  std::int64_t not_yet = 0;
  const bool first = requested_at.compare_exchange_strong(not_yet, monotonic_nanoseconds());
  if (first) requested_by = signal;
  if (first || signal == SIGINT) announce_stop();
  errno = interrupted_errno;
}

struct sigaction install(int signal, void (*handler)(int), int flags) {
  struct sigaction before = {};
  sigaction(signal, nullptr, &before);
  if (before.sa_handler == SIG_IGN) return before;
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
  return before;
}

sigset_t requests() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

// What the calling thread did before.
sigset_t change_mask(int how, const sigset_t& signals) {
  sigset_t before;
  pthread_sigmask(how, &signals, &before);
  return before;
}

}  // namespace

StopSignals::StopSignals() {
  check(!one_lives.exchange(true), "StopSignals: another one lives already, whose actions this one would restore");
  requested_at = 0;
  requested_by = 0;
  somebody_reads = isatty(STDERR_FILENO) != 0;
  replaced_ = {{{SIGINT, install(SIGINT, request_stop, SA_RESETHAND)},
                {SIGTERM, install(SIGTERM, request_stop, 0)},
                {SIGHUP, install(SIGHUP, SIG_IGN, 0)},
                {SIGPIPE, install(SIGPIPE, SIG_IGN, 0)},
                {SIGXFSZ, install(SIGXFSZ, SIG_IGN, 0)}}};
  mask_before_ = change_mask(SIG_BLOCK, {});
  kernels::on_every_thread([] { change_mask(SIG_BLOCK, requests()); });
  receiver_ = std::thread([this] {
    change_mask(SIG_UNBLOCK, requests());
    end_.acquire();
  });
}

StopSignals::~StopSignals() {
  end_.release();
  receiver_.join();
  kernels::on_every_thread([this] { change_mask(SIG_SETMASK, mask_before_); });
  for (const Replaced& replaced : replaced_) sigaction(replaced.signal, &replaced.before, nullptr);
  one_lives = false;
}

bool StopSignals::requested() const { return requested_by != 0; }

double StopSignals::seconds_since_request() const {
  return requested() ? static_cast<double>(monotonic_nanoseconds() - requested_at) * 1e-9 : 0;
}

std::string_view StopSignals::signal_name() const {
  const int signal = requested_by;
  return signal == SIGINT ? "SIGINT" : signal == SIGTERM ? "SIGTERM" : "";
}

}  // namespace accrue::train

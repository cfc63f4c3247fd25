#include "train/console.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>

#include <cerrno>
#include <system_error>

namespace accrue::train {
namespace {

// A write to a pipe that nobody reads sends SIGPIPE to the thread, which by default ends the process. While this lives
// such a signal waits, and in the end it is taken away; one that was on its way before stays.
class BrokenPipeBlocked {
 public:
  BrokenPipeBlocked() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGPIPE);
    sigset_t pending;
    was_pending_ = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~BrokenPipeBlocked() {
    constexpr timespec at_once = {};
    while (!was_pending_ && sigtimedwait(&signals_, nullptr, &at_once) < 0 && errno == EINTR) continue;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  BrokenPipeBlocked(const BrokenPipeBlocked&) = delete;
  BrokenPipeBlocked& operator=(const BrokenPipeBlocked&) = delete;

 private:
  sigset_t signals_, before_;
  bool was_pending_ = false;
};

// 0, or why not all was written.
int write_text(int fd, std::string_view text) {
  const BrokenPipeBlocked blocked;
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {  // somebody else who shares the stream has made it non-blocking
      pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&ready, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

void Console::write(std::string_view text) {
  if (out_failed_) return;
  const int error = write_text(out_, text);
  if (error == 0) return;
  out_failed_ = true;
  warn("standard output cannot be written ({}); training goes on, metrics.jsonl has everything\n",
       std::generic_category().message(error));
}

void Console::write_error(std::string_view text) const { write_text(error_, text); }

bool Console::is_terminal() const { return isatty(out_) != 0; }

std::size_t Console::width() const {
  winsize size{};
  const bool known = ioctl(out_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace accrue::train

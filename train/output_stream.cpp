#include "train/output_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include <utility>

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

// None where that cannot be, as for the terminal of another user: then a write waits for as long as it takes.
FileDescriptor opened_without_waiting(int fd) {
  return FileDescriptor(
      open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

}  // namespace

OutputStream::OutputStream(int fd, std::chrono::milliseconds patience) : fd_(fd), patience_(patience) {
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) return;
  is_socket_ = S_ISSOCK(status.st_mode);
  if (S_ISFIFO(status.st_mode) || isatty(fd) != 0) own_ = opened_without_waiting(fd);
}

std::int64_t OutputStream::write_some(std::string_view text) const {
  if (is_socket_) return ::send(fd_, text.data(), text.size(), MSG_DONTWAIT);
  return ::write(own_ ? own_.get() : fd_, text.data(), text.size());
}

// Takes from the text what is written.
OutputStream::Outcome OutputStream::send(std::string_view& text, std::chrono::milliseconds patience) {
  while (!text.empty()) {
    const std::int64_t written = uninterrupted([&] { return write_some(text); });
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
      continue;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK) return Outcome::failed;
    pollfd room{.fd = fd_, .events = POLLOUT, .revents = 0};
    const int ready = uninterrupted([&] { return poll(&room, 1, static_cast<int>(patience.count())); });
    if (ready < 0) return Outcome::failed;
    if (ready == 0) return Outcome::stalled;
  }
  return Outcome::written;
}

int OutputStream::write(std::string_view text) {
  const BrokenPipeBlocked blocked;
  if (!rest_.empty()) {
    std::string_view rest = rest_;
    const Outcome outcome = send(rest, {});
    if (outcome == Outcome::failed) return errno;
    rest_ = std::string(rest);
    if (outcome == Outcome::stalled) {
      ++left_out_;
      return 0;
    }
  }
  std::string noted;
  if (left_out_ > 0) {
    noted = fmt::format("\n[{} of this output left out while nobody read it]\n{}",
                        left_out_ == 1 ? "one line" : fmt::format("{} lines", left_out_), text);
    text = noted;
    left_out_ = 0;
  }
  const Outcome outcome = send(text, patience_);
  if (outcome == Outcome::failed) return errno;
  rest_ = std::string(text);
  return 0;
}

}  // namespace accrue::train

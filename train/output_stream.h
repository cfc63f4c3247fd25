// A stream of text to somebody who may go away, or stop reading, without costing the writer anything.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "train/file_descriptor.h"

namespace accrue::train {

// Writes at once, not through stdio's buffers. A terminal (Ctrl-S, an ssh session whose laptop sleeps), pipe or socket
// that takes nothing for `patience` is not waited for any longer: what comes is left out until it takes text again,
// and is then told of how much that was.
class OutputStream {
 public:
  explicit OutputStream(int fd, std::chrono::milliseconds patience = std::chrono::seconds(1));

  // 0, or the errno of a stream that cannot be written. Raises no SIGPIPE.
  int write(std::string_view text);

 private:
  enum class Outcome { written, stalled, failed };
  Outcome send(std::string_view& text, std::chrono::milliseconds patience);
  std::int64_t write_some(std::string_view text) const;

  int fd_;
  FileDescriptor own_;  // the same terminal or pipe, opened once more: O_NONBLOCK on fd_ would be everybody's
  bool is_socket_ = false;
  std::chrono::milliseconds patience_;
  std::string rest_;  // of the text in which it stalled
  std::int64_t left_out_ = 0;
};

}  // namespace accrue::train

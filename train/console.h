// What a training run says to whoever started it, which must not cost the run anything.
#pragma once

#include <fmt/core.h>

#include <unistd.h>
#include <cstddef>
#include <string>
#include <string_view>

#include "train/output_stream.h"

namespace accrue::train {

// Writes to standard output and standard error without ever failing: a terminal that was closed, a reader that went
// away or a disk that is full ends the output and not the training, and a reader that stops reading does not stop it
// (OutputStream). Standard error is told of the first failure of standard output. Text is written at once, not through
// stdio's buffers, whose content would fail again at the end of the program.
class Console {
 public:
  explicit Console(int out = STDOUT_FILENO, int error = STDERR_FILENO) : out_fd_(out), out_(out), error_(error) {}

  template <class... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    write(fmt::format(format, std::forward<Args>(args)...));
  }
  template <class... Args>
  void warn(fmt::format_string<Args...> format, Args&&... args) {
    write_error(fmt::format(format, std::forward<Args>(args)...));
  }
  void write(std::string_view text);
  void write_error(std::string_view text);

  // Of standard output.
  bool is_terminal() const;
  std::size_t width() const;  // in columns; 80 where nobody knows

 private:
  int out_fd_;
  OutputStream out_, error_;
  bool out_failed_ = false;
};

}  // namespace accrue::train

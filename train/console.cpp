#include "train/console.h"

#include <sys/ioctl.h>

#include <system_error>

namespace accrue::train {

void Console::write(std::string_view text) {
  if (out_failed_) return;
  const int error = out_.write(text);
  if (error == 0) return;
  out_failed_ = true;
  warn("standard output cannot be written ({}); training goes on, metrics.jsonl has everything\n",
       std::generic_category().message(error));
}

void Console::write_error(std::string_view text) { error_.write(text); }

bool Console::is_terminal() const { return isatty(out_fd_) != 0; }

std::size_t Console::width() const {
  winsize size{};
  const bool known = ioctl(out_fd_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

}  // namespace accrue::train

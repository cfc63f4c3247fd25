// Errors: one exception type whose kind is also the process's exit code (docs/exit-codes.md).
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace accrue {

// What went wrong, for the caller that reacts and for the shell that sees the value as an exit code.
enum class ErrorKind : int {
  internal = 1,        // a broken invariant of Accrue itself, or a wrong use of its C++ interface (shapes, dtypes)
  usage = 2,           // unknown, contradictory or impossible options
  bad_data = 65,       // an input file exists but its content is not what it should be
  no_input = 66,       // an input file is missing or unreadable
  no_device = 69,      // the requested device does not exist here
  numeric = 70,        // training diverged beyond repair
  memory = 71,         // an allocation failed
  cannot_create = 73,  // an output file or directory cannot be made
  io = 74,             // reading or writing failed half-way
  stopped = 75,        // stopped early on request; the same command resumes
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }
  int exit_code() const noexcept { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// fail() without its types, so that the formatting is compiled once and not wherever something may fail.
[[noreturn]] void fail_formatted(ErrorKind kind, fmt::string_view format, fmt::format_args args);

// Throws Error(kind) with a formatted message: fail(ErrorKind::bad_data, "{}: truncated at byte {}", path, offset).
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  fail_formatted(kind, format, fmt::make_format_args(args...));
}

// Throws an internal error unless the condition holds. The message names operand, requirement and actual value:
// "layernorm_forward: gamma must have shape [768] to match the last axis of x [8, 768], but has [512]".
template <class... Args>
void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(ErrorKind::internal, format, std::forward<Args>(args)...);
}

}  // namespace accrue

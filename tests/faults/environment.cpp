// The plan of a program that was started with LD_PRELOAD=libaccrue_faults.so, from its environment:
//
//   ACCRUE_FAULTS_FOLDER   only calls for this folder and what is below it count
//   ACCRUE_FAULTS          what happens at which call, e.g. kill-before@17 or fail@17:ENOSPC (io_faults.h lists them);
//                          not set: the calls are only counted
//   ACCRUE_FAULTS_CALLS    changing (the default), reading, products, or several with commas between them
//   ACCRUE_FAULTS_ONLY     a function and a path from the folder, e.g. "rename checkpoints/update-*": others do not
//   count ACCRUE_FAULTS_LOG      a file that gets a line for each counted call before it is made: number, function,
//   path
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "tests/faults/io_faults.h"

namespace accrue::testing::faults {
namespace {

long log_file = -1;

// One write a line, so that nothing of it is missing when the process dies.
void log_call(long number, const char* call, const char* path) {
  std::array<char, 3 * PATH_MAX> line;
  char* end = std::to_chars(line.data(), line.data() + 20, number).ptr;
  const auto append = [&](std::string_view text) {
    std::memcpy(end, text.data(), text.size());
    end += text.size();
  };
  append(" ");
  append(call);
  append(" ");
  append(path);
  append("\n");
  syscall(SYS_write, log_file, line.data(), end - line.data());
}

[[noreturn]] void refuse(const char* variable) {
  for (const char* part :
       {"libaccrue_faults.so: ", variable, " is not understood; tests/faults/environment.cpp explains it\n"})
    syscall(SYS_write, STDERR_FILENO, part, std::strlen(part));
  _exit(2);
}

[[gnu::constructor]] void arm_from_environment() {
  const char* const folder = std::getenv("ACCRUE_FAULTS_FOLDER");
  if (folder == nullptr) return;
  Plan plan{.folder = folder};
  if (const char* const text = std::getenv("ACCRUE_FAULTS"); text != nullptr && !parse_action(text, plan))
    refuse("ACCRUE_FAULTS");
  if (const char* const text = std::getenv("ACCRUE_FAULTS_CALLS"); text != nullptr && !parse_calls(text, plan))
    refuse("ACCRUE_FAULTS_CALLS");
  if (const char* const text = std::getenv("ACCRUE_FAULTS_ONLY")) plan.only = text;
  if (const char* const path = std::getenv("ACCRUE_FAULTS_LOG")) {
    log_file = syscall(SYS_open, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log_file < 0) refuse("ACCRUE_FAULTS_LOG");
  }
  arm(plan, log_file >= 0 ? log_call : nullptr);
}

}  // namespace
}  // namespace accrue::testing::faults

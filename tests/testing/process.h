// Programs as a user runs them: started with arguments, waited for, their output and exit code looked at.
#pragma once

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace accrue::testing {

using Arguments = std::vector<std::string>;

struct ProcessResult {
  int exit_code = -1;  // as a shell shows it: 128 + N after signal N
  std::string out, err;
};

namespace process_detail {

// Output goes to files and not pipes: nothing has to be read while the program runs, so nothing can block.
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

inline File temporary_file() {
  File file(std::tmpfile(), &std::fclose);
  if (!file) throw std::runtime_error("run_program: no temporary file for the program's output");
  return file;
}

inline std::string content(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text.push_back(static_cast<char>(c));
  return text;
}

// A program inherits the tests' environment, less what they set themselves ("LC_ALL=C" hides another LC_ALL).
inline std::vector<std::string> environment_with(const std::vector<std::string>& settings) {
  std::vector<std::string> result = settings;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string name = std::string(*entry).substr(0, std::string(*entry).find('=') + 1);
    bool hidden = false;
    for (const std::string& setting : settings) hidden = hidden || setting.starts_with(name);
    if (!hidden) result.emplace_back(*entry);
  }
  return result;
}

inline std::vector<char*> null_terminated(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace process_detail

// Runs the program of this path, without a shell and with an empty standard input, until it ends.
inline ProcessResult run_process(const std::string& path, const Arguments& arguments,
                                 const std::vector<std::string>& environment = {}) {
  const process_detail::File out = process_detail::temporary_file(), err = process_detail::temporary_file();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", 0, 0);
  posix_spawn_file_actions_adddup2(&actions, fileno(out.get()), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, fileno(err.get()), STDERR_FILENO);
  std::vector<std::string> words = arguments, variables = process_detail::environment_with(environment);
  words.insert(words.begin(), path);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, path.c_str(), &actions, nullptr, process_detail::null_terminated(words).data(),
                                process_detail::null_terminated(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw std::runtime_error("run_process: " + path + " cannot be started; is it built?");
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw std::runtime_error("run_process: " + path + " cannot be waited for");
  }
  const int exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return {.exit_code = exit_code, .out = process_detail::content(out.get()), .err = process_detail::content(err.get())};
}

// The same for a program of this build, by its name.
inline ProcessResult run_program(const std::string& name, const Arguments& arguments,
                                 std::vector<std::string> environment = {}) {
  // Tests run side by side: OpenMP's threads that spin while they wait would take the cores from each other.
  environment.emplace_back("OMP_WAIT_POLICY=PASSIVE");
  return run_process(ACCRUE_PROGRAMS "/" + name, arguments, environment);
}

}  // namespace accrue::testing

// What is done at which call. Called from signal handlers and before main() as well: it allocates nothing, takes no
// lock, and makes its own system calls past the functions that it watches.
#include "tests/faults/io_faults.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

namespace accrue::testing::faults {
namespace {

using Path = std::array<char, 2 * PATH_MAX>;

struct State {
  std::array<Path, 2> folders = {};         // as it was given, and with its links resolved
  std::array<char, 64> only_function = {};  // empty: all
  Path only_path = {};
  unsigned calls = 0;
  Action action = Action::none;
  long at = 0;
  int error = 0;
  Observer observer = nullptr;
  std::atomic<bool> armed = false;
  std::atomic<long> count = 0;
  std::atomic<bool> fired = false;
};
constinit State state;

constexpr std::pair<std::string_view, Action> action_names[] = {
    {"kill-before", Action::kill_before}, {"kill-within", Action::kill_within},
    {"kill-after", Action::kill_after},   {"fail", Action::fail},
    {"fail-from", Action::fail_from},     {"short", Action::shorten},
    {"eintr", Action::interrupt}};
constexpr std::pair<std::string_view, int> error_names[] = {{"ENOSPC", ENOSPC}, {"EIO", EIO},       {"EDQUOT", EDQUOT},
                                                            {"EROFS", EROFS},   {"EACCES", EACCES}, {"EMFILE", EMFILE},
                                                            {"ENOMEM", ENOMEM}};
constexpr std::pair<std::string_view, unsigned> call_names[] = {
    {"changing", changing}, {"reading", reading}, {"products", products}};

template <class Table>
auto find_in(const Table& table, std::string_view name) {
  for (const auto& entry : table)
    if (entry.first == name) return &entry;
  return static_cast<decltype(&table[0])>(nullptr);
}

// A call within this file must not change what the program sees in errno.
class KeptErrno {
 public:
  ~KeptErrno() { errno = kept_; }

 private:
  int kept_ = errno;
};

bool read_link(const char* link, Path& target) {
  const long size = syscall(SYS_readlink, link, target.data(), target.size() - 1);
  if (size < 0) return false;
  target[static_cast<std::size_t>(size)] = '\0';
  return true;
}

// Where an open file is. False for pipes, sockets and closed descriptors.
bool path_of(int fd, Path& path) {
  std::array<char, 32> link = {};
  constexpr std::string_view prefix = "/proc/self/fd/";
  std::memcpy(link.data(), prefix.data(), prefix.size());
  // No snprintf: it may allocate.
  std::array<char, 12> digits = {};
  std::size_t count = 0;
  if (fd < 0) return false;
  for (int rest = fd; count == 0 || rest > 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
  for (std::size_t i = 0; i < count; ++i) link[prefix.size() + i] = digits[count - 1 - i];
  return read_link(link.data(), path) && path[0] == '/';
}

// A path that the program gave, from the root.
bool absolute(int directory, const char* given, Path& path) {
  path[0] = '\0';
  if (given[0] != '/') {
    const bool found =
        directory == AT_FDCWD ? syscall(SYS_getcwd, path.data(), path.size()) > 0 : path_of(directory, path);
    if (!found) return false;
  }
  const std::size_t size = std::strlen(path.data()), more = std::strlen(given);
  if (size + more + 2 > path.size()) return false;  // the system refuses it as well
  path[size] = '/';
  std::memcpy(&path[size + 1], given, more + 1);
  normalise(path.data());
  return true;
}

bool is_below(const char* path, const Path& folder) {
  const std::size_t size = std::strlen(folder.data());
  return size > 0 && std::strncmp(path, folder.data(), size) == 0 && (path[size] == '/' || path[size] == '\0');
}

bool is_below_a_folder(const char* path) {
  return is_below(path, state.folders[0]) || is_below(path, state.folders[1]);
}

// Whether it is one of those that Plan::only leaves.
bool is_wanted(const char* name, const char* path) {
  if (state.only_function[0] == '\0') return true;
  if (std::strcmp(name, state.only_function.data()) != 0) return false;
  for (const Path& folder : state.folders) {
    const std::size_t size = std::strlen(folder.data());
    if (is_below(path, folder))
      return is_like(path[size] == '/' ? path + size + 1 : path + size, state.only_path.data());
  }
  return false;
}

void copy_text(std::string_view text, char* to, std::size_t size) {
  const std::size_t count = std::min(text.size(), size - 1);
  std::memcpy(to, text.data(), count);
  to[count] = '\0';
}

[[noreturn]] void die() {
  syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
  for (;;) syscall(SYS_pause);
}

// Whether the planned action suits a call of these properties.
bool suits(Action action, unsigned properties) {
  switch (action) {
    case Action::interrupt:
      return (properties & interruptible) != 0;
    case Action::shorten:
      return (properties & shortenable) != 0;
    case Action::fail_from:
      return state.error != ENOSPC || (properties & needs_space) != 0;
    default:
      return action != Action::none;
  }
}

}  // namespace

bool parse_action(const char* text, Plan& plan) {
  const std::string_view whole = text;
  const std::size_t at = whole.find('@'), colon = whole.find(':');
  const auto* const action = find_in(action_names, whole.substr(0, at));
  if (action == nullptr || at == std::string_view::npos) return false;
  char* end = nullptr;
  plan.at = std::strtol(text + at + 1, &end, 10);
  if (plan.at < 1 || end == text + at + 1) return false;
  plan.action = action->second;
  const bool has_error = plan.action == Action::fail || plan.action == Action::fail_from;
  if (!has_error) return *end == '\0';
  const auto* const error = colon == std::string_view::npos ? nullptr : find_in(error_names, whole.substr(colon + 1));
  if (error == nullptr || end != text + colon) return false;
  plan.error = error->second;
  return true;
}

bool parse_calls(const char* text, Plan& plan) {
  plan.calls = 0;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    const auto* const calls = find_in(call_names, rest.substr(0, comma));
    if (calls == nullptr) return false;
    plan.calls |= calls->second;
    if (comma == std::string_view::npos) return true;
    rest.remove_prefix(comma + 1);
  }
}

void arm(const Plan& plan, Observer observer) {
  const KeptErrno kept;
  state.folders = {};
  if (!plan.folder.empty() && absolute(AT_FDCWD, plan.folder.c_str(), state.folders[0])) {
    state.folders[1] = state.folders[0];
    // An open file shows its path with all links resolved.
    if (char* const real = realpath(plan.folder.c_str(), nullptr)) {
      copy_text(real, state.folders[1].data(), state.folders[1].size());
      std::free(real);
    }
  }
  const std::size_t blank = std::min(plan.only.find(' '), plan.only.size());
  const std::string_view function = std::string_view(plan.only).substr(0, blank);
  copy_text(function, state.only_function.data(), state.only_function.size());
  copy_text(std::string_view(plan.only).substr(std::min(blank + 1, plan.only.size())), state.only_path.data(),
            state.only_path.size());
  state.calls = plan.calls;
  state.action = plan.action;
  state.at = plan.at;
  state.error = plan.error;
  state.observer = observer;
  state.count = 0;
  state.fired = false;
  state.armed = true;
}

Tally disarm() {
  state.armed = false;
  return {.calls = state.count, .fired = state.fired};
}

Call::Call(Calls kind, unsigned properties, const char* name, int directory, const char* path) {
  if (!state.armed || (state.calls & kind) == 0) return;
  const KeptErrno kept;
  Path whole;
  if (absolute(directory, path, whole) && is_below_a_folder(whole.data())) begin(properties, name, whole.data());
}

Call::Call(Calls kind, unsigned properties, const char* name, int fd) {
  if (!state.armed || (state.calls & kind) == 0) return;
  const KeptErrno kept;
  Path whole;
  if (path_of(fd, whole) && is_below_a_folder(whole.data())) begin(properties, name, whole.data());
}

Call::Call(Calls kind, const char* name) {
  if (!state.armed || (state.calls & kind) == 0) return;
  const KeptErrno kept;
  begin(0, name, "-");
}

void Call::begin(unsigned properties, const char* name, const char* path) {
  if (!is_wanted(name, path)) return;
  const long number = ++state.count;
  if (state.observer != nullptr) state.observer(number, name, path);
  const bool due = number == state.at || (state.action == Action::fail_from && number > state.at);
  if (!due || !suits(state.action, properties)) return;
  action_ = state.action;
  if (action_ == Action::kill_before) die();
  if (action_ == Action::kill_within && (properties & shortenable) == 0) die();
  state.fired = true;
}

Call::~Call() {
  if (action_ == Action::kill_after || action_ == Action::kill_within) die();
}

bool Call::fails() const {
  if (action_ != Action::fail && action_ != Action::fail_from && action_ != Action::interrupt) return false;
  errno = action_ == Action::interrupt ? EINTR : state.error;
  return true;
}

std::size_t Call::allowed(std::size_t bytes) const {
  const bool half = action_ == Action::shorten || action_ == Action::kill_within;
  return half ? (bytes + 1) / 2 : bytes;
}

bool is_open_for_writing(int fd) {
  const KeptErrno kept;
  const long flags = syscall(SYS_fcntl, fd, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

void normalise(char* path) {
  std::size_t written = 0;
  for (const char* next = path; *next != '\0';) {
    while (*next == '/') ++next;
    const std::size_t size = std::strcspn(next, "/");
    const std::string_view part(next, size);
    if (part == "..") {
      while (written > 0 && path[--written] != '/') {
      }
    } else if (!part.empty() && part != ".") {
      path[written++] = '/';
      std::memmove(path + written, next, size);
      written += size;
    }
    next += size;
  }
  if (written == 0) path[written++] = '/';
  path[written] = '\0';
}

bool is_like(const char* path, const char* pattern) {
  if (*pattern == '*')
    return is_like(path, pattern + 1) || (*path != '\0' && *path != '/' && is_like(path + 1, pattern));
  if (*path != *pattern) return false;
  return *path == '\0' || is_like(path + 1, pattern + 1);
}

}  // namespace accrue::testing::faults

#include "train/lock_holder.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <fstream>
#include <iterator>
#include <utility>

namespace accrue::train {
namespace {

constexpr std::string_view line_begin = "accrue lock: process ";
constexpr std::size_t longest_line = 512;

bool is_visible(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

std::string this_host() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  std::string host = name.data();
  for (char& c : host)
    if (!is_visible({&c, 1})) c = '?';
  return host.empty() ? "unknown" : host;
}

// Takes text off the front of another: each function removes what it has read.
bool take(std::string_view& rest, std::string_view expected) {
  if (!rest.starts_with(expected)) return false;
  rest.remove_prefix(expected.size());
  return true;
}

template <class T>
bool take_number(std::string_view& rest, T& number) {
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc()) return false;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  return true;
}

bool take_word(std::string_view& rest, std::string_view end, std::string& word) {
  const std::size_t length = rest.find(end);
  if (length == std::string_view::npos || length == 0 || !is_visible(rest.substr(0, length))) return false;
  word = rest.substr(0, length);
  rest.remove_prefix(length + end.size());
  return true;
}

std::optional<LockHolder> parse_line(std::string_view rest) {
  LockHolder holder;
  const bool whole = take(rest, line_begin) && take_number(rest, holder.process) && take(rest, " on ") &&
                     take_word(rest, " since ", holder.host) && take_word(rest, ", start ", holder.since) &&
                     take_number(rest, holder.start) && rest == "\n";
  if (!whole || holder.process <= 0 || !std::in_range<pid_t>(holder.process)) return std::nullopt;
  return holder;
}

}  // namespace

std::string LockHolder::to_line() const {
  return fmt::format("{}{} on {} since {}, start {}\n", line_begin, process, host, since, start);
}

LockHolder this_lock_holder() {
  const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return {.process = getpid(),
          .host = this_host(),
          .start = start_of_process(getpid()).value_or(0),
          .since = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now))};
}

ParsedLock parse_lock(std::string_view text) {
  if (text.find_first_not_of('\0') == std::string_view::npos) return {};
  if (text.size() > longest_line) return {.content = LockContent::foreign, .holder = {}};
  if (std::optional<LockHolder> holder = parse_line(text))
    return {.content = LockContent::holder, .holder = *std::move(holder)};
  const bool torn = text.starts_with(line_begin) || line_begin.starts_with(text);
  return {.content = torn ? LockContent::empty : LockContent::foreign, .holder = {}};
}

std::optional<std::uint64_t> start_of_process(std::int64_t process) {
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  const std::string stat{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  // "1234 (name) S …": the name may hold blanks and brackets itself, and behind its end the fields are counted from 3.
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) {
    // Not to be seen there; that a signal could not be sent only for want of permission shows that it exists.
    if (kill(static_cast<pid_t>(process), 0) == 0 || errno == EPERM) return 0;
    return std::nullopt;
  }
  std::string_view rest = std::string_view(stat).substr(name_end + 1);
  constexpr int state_field = 3, start_field = 22;
  for (int field = state_field; field <= start_field; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    if (field == state_field && (rest.starts_with('Z') || rest.starts_with('X'))) return std::nullopt;
    if (field < start_field) rest.remove_prefix(std::min(rest.find(' '), rest.size()));
  }
  std::uint64_t start = 0;
  return take_number(rest, start) ? start : 0;
}

HolderState state_of(const LockHolder& holder, std::string_view host,
                     const std::function<std::optional<std::uint64_t>(std::int64_t)>& start_of) {
  if (holder.host != host) return HolderState::elsewhere;
  const std::optional<std::uint64_t> start = start_of(holder.process);
  // 0 is an unknown start, on either side; who might be the holder counts as it.
  const bool other = start && *start != 0 && holder.start != 0 && *start != holder.start;
  return start && !other ? HolderState::alive : HolderState::gone;
}

std::string name_of(const LockHolder& holder, std::string_view host) {
  return fmt::format("process {}{}", holder.process, holder.host == host ? "" : " on " + holder.host);
}

}  // namespace accrue::train

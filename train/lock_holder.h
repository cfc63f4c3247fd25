// Who holds the lock of a run's directory, as DIR/lock says it in one line of text.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace accrue::train {

struct LockHolder {
  std::int64_t process = 0;
  std::string host;         // visible ASCII
  std::uint64_t start = 0;  // of the process, in the system's ticks since it booted: tells apart who re-uses a number
  std::string since;        // when it took the lock: "2026-03-01T12:00:00Z"

  std::string to_line() const;  // "accrue lock: process 1234 on host since 2026-03-01T12:00:00Z, start 5678\n"
  friend bool operator==(const LockHolder&, const LockHolder&) = default;
};

// This process, now.
LockHolder this_lock_holder();

// A lock that nobody holds is empty. What a power cut has left of one, the beginning of a line or zeros, says nothing
// of anybody either. Everything else is a file of the user's that only has the name.
enum class LockContent { empty, holder, foreign };
struct ParsedLock {
  LockContent content = LockContent::empty;
  LockHolder holder;
};
ParsedLock parse_lock(std::string_view text);

// The start of a process that lives on this host; 0 if the system does not tell. None if there is no such process, or
// it has ended and only waits for its parent to notice.
std::optional<std::uint64_t> start_of_process(std::int64_t process);

// What a holder's line means to a process on `host`.
enum class HolderState { alive, gone, elsewhere };  // elsewhere: on another host, which cannot be asked
HolderState state_of(const LockHolder& holder, std::string_view host,
                     const std::function<std::optional<std::uint64_t>(std::int64_t)>& start_of = start_of_process);

// "process 1234", or "process 1234 on host" where that is another host than this.
std::string name_of(const LockHolder& holder, std::string_view host);

}  // namespace accrue::train

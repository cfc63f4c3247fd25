// The lock file of a run: whose it is, if anybody's; nothing is refused by an exception.
#include "tests/fuzz/fuzz.h"
#include "train/lock_holder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  using namespace accrue::train;
  constexpr std::uint64_t limit = 8192;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lock = parsed(limit, [&] { return parse_lock(text); }, {});
  require(lock.has_value(), "an exception");
  if (lock->content != LockContent::holder) return 0;
  require(lock->holder.process > 0, "a process that cannot be");
  require(parse_lock(lock->holder.to_line()).holder == lock->holder, "a holder that changes when written");
  for (const char c : lock->holder.to_line() + name_of(lock->holder, "here"))
    require(c == '\n' || (c >= 0x20 && c < 0x7f), "a holder that steers the terminal");
  return 0;
}

// Faults in the C library's input and output: the n-th call that touches a folder fails, is interrupted, is cut short,
// or is where the process dies. The product knows nothing of it: io_calls.cpp defines the C library's functions anew
// and calls the originals, in a test program that is linked with it or in any program that is started with the shared
// object libaccrue_faults.so (environment.cpp says how).
#pragma once

#include <array>
#include <atomic>
#include <climits>
#include <cstddef>
#include <string>

namespace accrue::testing::faults {

// Which calls are counted; a sum of these.
enum Calls : unsigned {
  changing = 1,  // what alters the disk or makes it durable: opening for writing, write, fsync, rename, unlink, …
  reading = 2,   // what only looks: opening for reading, read, mmap, fstat, …
  products = 4,  // matrix products: points inside of a micro-batch's computation, wherever the folder
};

enum class Action {
  none,         // the calls are only counted
  kill_before,  // SIGKILL instead of the call
  kill_within,  // SIGKILL when half of the bytes are written; another call than a write is not made
  kill_after,   // SIGKILL when the call has returned
  fail,         // the call is not made and reports the error; a close closes all the same
  fail_from,    // so does every later one. ENOSPC: those that need space, as on a full disk
  shorten,      // a read or write moves half of its bytes, or one
  interrupt,  // EINTR. For open, read, write, fsync and close alone: Linux never interrupts the others on a local disk
};

struct Plan {
  std::string folder;
  unsigned calls = changing;
  std::string only = {};  // "rename checkpoints/update-*": only this function, only paths (from the folder) like this
  Action action = Action::none;
  long at = 0;    // number of the call, from 1
  int error = 0;  // errno
};

// Reads "kill-before@17", "kill-within@17", "kill-after@17", "fail@17:ENOSPC", "fail-from@17:ENOSPC", "short@17"
// or "eintr@17" into action, at and error. False if the text is none of these.
bool parse_action(const char* text, Plan& plan);
// Reads "changing", "reading", "products" or several with commas between them.
bool parse_calls(const char* text, Plan& plan);

// Is told of each counted call before it is made.
using Observer = void (*)(long number, const char* call, const char* path);

// From here on calls are counted, and the plan is carried out. Not while other threads make such calls.
void arm(const Plan& plan, Observer observer = nullptr);

struct Tally {
  long calls = 0;      // that were counted
  bool fired = false;  // whether the action happened: an EINTR at a rename does not
};
Tally disarm();

// What can happen to a function, apart from failing.
enum Properties : unsigned { interruptible = 1, shortenable = 2, needs_space = 4 };

// One call of a function of the C library, from its first line to its last: counts it, and dies where the plan says so.
class Call {
 public:
  // With a path, relative to a folder's descriptor or AT_FDCWD.
  Call(Calls kind, unsigned properties, const char* name, int directory, const char* path);
  // With an open file.
  Call(Calls kind, unsigned properties, const char* name, int fd);
  // With no file at all.
  Call(Calls kind, const char* name);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Whether the call is to report a failure; errno says which.
  bool fails() const;
  // How many of these bytes it may move.
  std::size_t allowed(std::size_t bytes) const;

 private:
  void begin(unsigned properties, const char* name, const char* path);

  Action action_ = Action::none;  // that is due at this call
};

// Whether a file is open for writing.
bool is_open_for_writing(int fd);

// "/a/./b/../c" without its dots, in place; the path begins with a slash.
void normalise(char* path);
// Whether a path is like a pattern, in which * stands for any text without a slash.
bool is_like(const char* path, const char* pattern);

}  // namespace accrue::testing::faults

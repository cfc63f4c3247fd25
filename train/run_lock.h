// One process at a time in the directory of a run.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "train/file_descriptor.h"

namespace accrue::train {

// Keeps a second process out of the directory for as long as it lives: two would mix their metrics and checkpoints.
//
// DIR/lock is locked with flock(2), which the system ends with the process, however that ends; its one line says who
// holds it (train/lock_holder.h). Where the file system has no such locks, that line decides alone: it stands for a
// process of this host as long as that process lives, and for one of another host until somebody removes the file. The
// file stays, and is empty when nobody holds the lock.
class RunLock {
 public:
  // Throws Error(cannot_create) naming the directory and the process that has it, or a file of the user's of that name.
  explicit RunLock(const std::filesystem::path& run);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  // "took over the lock of process 1234, which is gone"; empty if the lock was free.
  const std::string& note() const { return note_; }

 private:
  pid_t process_;
  FileDescriptor file_;
  std::string note_;
};

}  // namespace accrue::train

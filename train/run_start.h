// How a run begins: anew, or from a checkpoint.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "train/run_directory.h"
#include "train/run_lock.h"

namespace accrue::train {

// What --out and --resume mean for the directories that are there. From here on no other process can change the
// checkpoint that is resumed, but for one of another run.
class RunStart {
 public:
  // `resume`: nullopt begins a run; "" continues the one in `out`; "auto" continues it, or begins it if it has no
  // checkpoint; anything else is the path of a checkpoint, or of a run whose newest it is. Throws Error(usage),
  // Error(no_input), Error(bad_data) or Error(cannot_create) as find_resume_point() and RunLock do.
  RunStart(const std::filesystem::path& out, const std::optional<std::string>& resume);

  // Nullopt: the run begins anew.
  const std::optional<ResumePoint>& point() const { return point_; }
  // Whether the checkpoint is one of the run in `out`, which then goes on; else a run begins there with it.
  bool continues() const { return continues_; }
  // Whether a log without a checkpoint, of a run that was killed early, may be begun again.
  bool may_start_over() const { return may_start_over_; }
  // The lock of the directory, made if it is not held yet.
  RunLock& lock();

 private:
  void continue_own();
  void resume_path(const std::filesystem::path& path);

  std::filesystem::path out_;
  std::unique_ptr<RunLock> lock_;
  std::optional<ResumePoint> point_;
  bool continues_ = false, may_start_over_ = false;
};

}  // namespace accrue::train

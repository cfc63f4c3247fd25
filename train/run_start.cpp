#include "train/run_start.h"

#include <system_error>

#include "core/check.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

bool is_in(const fs::path& checkpoint, const fs::path& run) {
  std::error_code error;
  return fs::equivalent(checkpoint.parent_path(), run / "checkpoints", error);
}

// The path without links and trailing slashes, so that it is that of a checkpoint and not of what leads there.
fs::path resolved(const fs::path& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) fail(ErrorKind::no_input, "--resume {}: {}", path.string(), error.message());
  return real;
}

// Of a path that is a checkpoint or a run: the checkpoint, and what there is to say of it.
ResumePoint point_at(const fs::path& path) {
  std::error_code error;
  if (fs::exists(path / "state.json", error)) return {.checkpoint = path, .notes = {}, .set_aside = {}};
  if (checkpoints_of(path).empty())
    fail(ErrorKind::no_input, "--resume {}: is neither a checkpoint nor a run that has one", path.string());
  return find_resume_point(path);
}

}  // namespace

RunStart::RunStart(const fs::path& out, const std::optional<std::string>& resume) : out_(out) {
  if (!resume) return;
  if (resume->empty()) {
    if (checkpoints_of(out).empty()) find_resume_point(out);  // throws, and has left no lock in somebody's directory
    continue_own();
  } else if (*resume == "auto") {
    may_start_over_ = true;
    if (!checkpoints_of(out).empty()) continue_own();
  } else {
    resume_path(*resume);
  }
}

RunLock& RunStart::lock() {
  if (!lock_) lock_ = std::make_unique<RunLock>(out_);
  return *lock_;
}

void RunStart::continue_own() {
  lock();
  point_ = find_resume_point(out_);
  continues_ = true;
}

void RunStart::resume_path(const fs::path& path) {
  const ResumePoint found = point_at(path);
  const fs::path checkpoint = resolved(found.checkpoint);
  continues_ = is_in(checkpoint, out_);
  if (continues_) lock();
  point_ = resume_point_at(out_, checkpoint);
  point_->notes.insert(point_->notes.begin(), found.notes.begin(), found.notes.end());
}

}  // namespace accrue::train

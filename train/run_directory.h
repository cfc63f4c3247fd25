// The directory of a run: DIR/lock, DIR/metrics.jsonl, DIR/checkpoints/update-00000100/, and links to the newest of
// them: DIR/latest, and DIR/model.safetensors and DIR/config.json so that DIR itself loads as a model.
#pragma once

#include <filesystem>
#include <string>

namespace accrue::train {

// Throws Error(usage) if a run has left anything in the directory, Error(cannot_create) if a user's own file has the
// name of one of the links.
void require_new_run(const std::filesystem::path& run);
// Throws Error(cannot_create) if a user's own file has the name of one of the links.
void require_free_links(const std::filesystem::path& run);

// Makes the directory of a run. Throws Error(cannot_create) with the system's reason.
void make_run_directory(const std::filesystem::path& run);

// Where a run goes on from.
struct ResumePoint {
  std::filesystem::path checkpoint;
  std::string note;  // why it is not the latest; empty if it is
};
// The latest checkpoint of a run, or the newest one that can be read if the latest cannot. Throws Error(no_input) if
// there is none or it may not be opened, Error(cannot_create) if the first is
// still to come from another process, Error(usage) for the directory of a checkpoint, OtherFormat for one of another
// version; where all are damaged, the latest is what it returns.
ResumePoint find_resume_point(const std::filesystem::path& run);

// Makes the checkpoint of this name in DIR/checkpoints the latest, durably. Throws Error(cannot_create) rather than
// replace anything but a link.
void point_links(const std::filesystem::path& run, const std::string& checkpoint);

}  // namespace accrue::train

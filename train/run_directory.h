// The directory of a run: DIR/lock, DIR/metrics.jsonl, DIR/profile.json (of --profile),
// DIR/checkpoints/update-00000100/, and links to the newest of them: DIR/latest, and DIR/model.safetensors and
// DIR/config.json so that DIR itself loads as a model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace accrue::train {

// Throws Error(usage) if a run has left anything in the directory, Error(cannot_create) if a user's own file has the
// name of one of the links.
void require_new_run(const std::filesystem::path& run);
// Throws Error(cannot_create) if a user's own file has the name of one of the links.
void require_free_links(const std::filesystem::path& run);

// Makes the directory of a run. Throws Error(cannot_create) with the system's reason.
void make_run_directory(const std::filesystem::path& run);

// Whether a run has left anything in the directory: a log, a checkpoint or the beginning of one. What cannot be asked
// counts as something.
bool holds_a_run(const std::filesystem::path& run);
// The checkpoints of a run, the newest first, by their names alone. Throws Error(io) where they cannot be listed.
std::vector<std::filesystem::path> checkpoints_of(const std::filesystem::path& run);

// Where a run goes on from.
struct ResumePoint {
  std::filesystem::path checkpoint;
  std::vector<std::string> notes;                // for the user: why it is not the newest
  std::vector<std::filesystem::path> set_aside;  // newer ones, which are damaged or given up
};
// The newest checkpoint of a run that is whole. Throws Error(no_input) if there is none or it may not be opened,
// Error(cannot_create) if the first is still to come from another process, Error(usage) for the directory of a
// checkpoint, OtherFormat for one of another version, Error(bad_data) where all of them are damaged.
ResumePoint find_resume_point(const std::filesystem::path& run);
// A certain checkpoint of the run; those after it are given up. Throws Error(bad_data) if it is damaged.
ResumePoint resume_point_at(const std::filesystem::path& run, const std::filesystem::path& checkpoint);
// Renames checkpoints so that no run is resumed from them again: update-00000100.damaged, or .given-up.
void set_aside(const ResumePoint& point);

// The name of the next checkpoint: update-00000100 or, where that is taken (inside a window, or after one that was
// skipped), update-00000100.1 and so on. Later ones sort behind earlier ones.
std::string new_checkpoint_name(const std::filesystem::path& run, std::int64_t update);
// Makes the checkpoint of this name in DIR/checkpoints the latest, durably. Throws Error(cannot_create) rather than
// replace anything but a link.
void point_links(const std::filesystem::path& run, const std::string& checkpoint);
// Removes all but the newest checkpoint of each of the newest `keep` >= 1 updates and, where more than one is kept, the
// newest two of all: inside a long window those are of one update. Otherwise that counts once: a run that diverges, and
// is started again and again, saves the same ruined weights each time, and must not push out what came before. Returns
// why one could not be removed; it is tried again with the next.
std::string prune_checkpoints(const std::filesystem::path& run, std::int64_t keep);

}  // namespace accrue::train

#include "train/run_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <system_error>
#include <vector>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"
#include "train/run_lock.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr const char* link_names[] = {"latest", "model.safetensors", "config.json"};

// What a path itself is: a link counts as a link, wherever it points.
fs::file_type type_of(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type();
}

// What cannot be asked, for want of a permission say, counts as there.
bool is_there(const fs::path& path) { return type_of(path) != fs::file_type::not_found; }

// Other programs keep links, too: those of a run lead to its checkpoints.
bool is_link_of_a_run(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  return !error && !target.empty() && (*target.begin() == "checkpoints" || *target.begin() == "latest");
}

void require_link(const fs::path& path) {
  if (is_there(path) && !is_link_of_a_run(path))
    fail(ErrorKind::cannot_create,
         "{}: exists and is not a link of a run, so that it is not replaced; move it away, or choose another --out",
         path.string());
}

// A link that always points at a whole checkpoint: the new one replaces the old by rename.
void point_link(const fs::path& link, const fs::path& target) {
  require_link(link);
  std::error_code error;
  const fs::path fresh = link.string() + ".new";
  if (is_link_of_a_run(fresh)) fs::remove(fresh, error);  // of a run that was killed here
  fs::create_symlink(target, fresh, error);
  if (!error) fs::rename(fresh, link, error);
  if (error)
    fail(ErrorKind::cannot_create, "{}: cannot be pointed at {}: {}", link.string(), target.string(), error.message());
}

// The whole checkpoints of a run, the newest first: their numbers have leading zeros, and beyond those more digits. One
// that was being replaced when the run was killed is there as .old.
std::vector<fs::path> checkpoints_of(const fs::path& run) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(run / "checkpoints", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    const fs::path extension = entry->path().extension();
    if (name.starts_with("update-") && (extension.empty() || extension == ".old")) found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    const std::string x = a.stem().string(), y = b.stem().string();
    if (x == y) return a.extension().empty();
    return x.size() != y.size() ? x.size() > y.size() : x > y;
  });
  return found;
}

// What is missing or broken in a checkpoint; empty if nothing is. Other errors are thrown: a file that this process may
// not open, or that another version of Accrue wrote, is no reason to fall back to an older checkpoint.
std::string damage_of(const fs::path& checkpoint) {
  for (const char* name : checkpoint_files)
    if (!is_there(checkpoint / name)) return fmt::format("{} is missing", (checkpoint / name).string());
  try {
    require_readable_checkpoint(checkpoint);
    return {};
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::bad_data) throw;
    return error.what();
  }
}

bool has_left_something(const fs::path& run) {
  std::error_code error;
  const auto bytes = fs::file_size(run / "metrics.jsonl", error);
  const bool metrics = !error && bytes > 0;
  fs::directory_iterator checkpoints(run / "checkpoints", error);
  return metrics || (!error && checkpoints != fs::directory_iterator()) ||
         type_of(run / "latest") == fs::file_type::symlink;
}

}  // namespace

void require_free_links(const fs::path& run) {
  for (const char* name : link_names) require_link(run / name);
}

void require_new_run(const fs::path& run) {
  if (has_left_something(run))
    fail(
        ErrorKind::usage,
        "--out {} already holds a run; continue it with --resume (if it has a checkpoint), or choose another directory",
        run.string());
  require_free_links(run);
}

void make_run_directory(const fs::path& run) {
  std::error_code error;
  fs::create_directories(run / "checkpoints", error);
  if (error) fail(ErrorKind::cannot_create, "--out {}: cannot be created: {}", run.string(), error.message());
}

ResumePoint find_resume_point(const fs::path& run) {
  std::error_code error;
  if (fs::exists(run / "state.json", error))
    fail(ErrorKind::usage,
         "--out {}: is a checkpoint, and --resume continues a run; give the directory that holds checkpoints/",
         run.string());
  const std::vector<fs::path> all = checkpoints_of(run);
  const fs::path latest = run / "latest";
  const bool has_latest = is_there(latest);
  if (!has_latest && all.empty()) {
    if (has_left_something(run)) {
      const RunLock ended(run);  // throws if it has not: a run that goes on is not to be removed
      fail(ErrorKind::no_input,
           "--resume: {} holds a run that ended before its first checkpoint, so there is no checkpoint to resume; "
           "remove the directory and start again, or choose another --out",
           run.string());
    }
    fail(ErrorKind::no_input, "{}: no checkpoint here; a training run with --out {} makes one", run.string(),
         run.string());
  }
  const std::string damage = has_latest ? damage_of(latest) : fmt::format("{} is missing", latest.string());
  if (damage.empty()) return {.checkpoint = latest, .note = {}};
  for (const fs::path& checkpoint : all) {
    if (damage_of(checkpoint).empty())
      return {.checkpoint = checkpoint,
              .note = fmt::format("the latest checkpoint cannot be read ({}); resuming from {}", damage,
                                  checkpoint.string())};
  }
  return {.checkpoint = has_latest || all.empty() ? latest : all.front(), .note = {}};
}

void point_links(const fs::path& run, const std::string& checkpoint) {
  require_free_links(run);  // before the first is moved
  make_durable(run / "checkpoints");
  point_link(run / "latest", fs::path("checkpoints") / checkpoint);
  point_link(run / "model.safetensors", "latest/model.safetensors");
  point_link(run / "config.json", "latest/config.json");
  make_durable(run);
}

}  // namespace accrue::train

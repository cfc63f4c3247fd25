#include "train/run_directory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <compare>
#include <functional>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "core/check.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"
#include "train/run_lock.h"
#include "train/sealed_folder.h"

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

bool is_nowhere(const std::error_code& error) {
  return error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory;
}

// Other programs keep links, too: those of a run lead to its checkpoints. Throws Error(io) where it cannot be told.
bool is_link_of_a_run(const fs::path& path) {
  std::error_code error;
  const fs::path target = fs::read_symlink(path, error);
  if (error && error != std::errc::invalid_argument && !is_nowhere(error))  // invalid: it is no link
    fail(ErrorKind::io, "{}: cannot be read: {}", path.string(), error.message());
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
  if (fs::read_symlink(link, error) == target) return;
  if (is_link_of_a_run(fresh)) fs::remove(fresh, error);  // of a run that was killed here
  fs::create_symlink(target, fresh, error);
  if (!error) fs::rename(fresh, link, error);
  if (error)
    fail(ErrorKind::cannot_create, "{}: cannot be pointed at {}: {}", link.string(), target.string(), error.message());
}

// What the name of a checkpoint says: its update, and which one of that update it is.
struct CheckpointNumber {
  std::int64_t update = 0, repetition = 0;
  friend auto operator<=>(const CheckpointNumber&, const CheckpointNumber&) = default;
};

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size() && value >= 0;
  return whole ? std::optional(value) : std::nullopt;
}

std::optional<CheckpointNumber> number_of(const std::string& name) {
  constexpr std::string_view prefix = "update-";
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::string_view numbers = std::string_view(name).substr(prefix.size());
  const std::size_t dot = numbers.find('.');
  const auto update = whole_number(numbers.substr(0, dot));
  const auto repetition = dot == std::string_view::npos ? 0 : whole_number(numbers.substr(dot + 1));
  if (!update || !repetition) return std::nullopt;
  return CheckpointNumber{.update = *update, .repetition = *repetition};
}

std::string name_of_checkpoint(const CheckpointNumber& number) {
  const std::string name = fmt::format("update-{:08}", number.update);
  return number.repetition == 0 ? name : fmt::format("{}.{}", name, number.repetition);
}

// What is missing or broken in a checkpoint; empty if nothing is. Other errors are thrown: a file that this process may
// not open, or that another version of Accrue wrote, is no reason to fall back to an older checkpoint.
std::string damage_of(const fs::path& checkpoint) {
  try {
    std::string damage = damage_of_checkpoint(checkpoint);
    // Versions before 4 had no checksums: what lacks them alone may be one of those.
    if (damage.empty() || !is_there(checkpoint / checksums_name)) require_readable_checkpoint(checkpoint);
    return damage;
  } catch (const OtherFormat&) {
    throw;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::bad_data && is_there(checkpoint / checksums_name)) throw;
    return error.what();
  }
}

}  // namespace

void require_free_links(const fs::path& run) {
  for (const char* name : link_names) require_link(run / name);
}

void require_new_run(const fs::path& run) {
  if (holds_a_run(run))
    fail(
        ErrorKind::usage,
        "--out {} already holds a run; continue it with --resume (if it has a checkpoint), or choose another directory",
        run.string());
  require_free_links(run);
}

void make_run_directory(const fs::path& run) {
  std::error_code error;
  const fs::path folder = fs::absolute(run / "checkpoints");  // not normalised: "link/.." is not where the link is
  fs::path there = folder;
  while (!fs::exists(there, error) && there.has_relative_path()) there = there.parent_path();
  fs::create_directories(folder, error);
  if (error) fail(ErrorKind::cannot_create, "--out {}: cannot be created: {}", run.string(), error.message());
  // A power cut must not take the name of a directory in whose depth files are durable. One that may be written to but
  // not read cannot be asked for that.
  for (fs::path made = folder; made != there && access(made.parent_path().c_str(), R_OK) == 0;
       made = made.parent_path())
    make_durable(made.parent_path());
}

bool holds_a_run(const fs::path& run) {
  std::error_code error;
  const fs::path log = run / "metrics.jsonl", folder = run / "checkpoints";
  // A log that leads to a device, as /dev/null, has nothing of a run.
  const bool device = fs::is_other(log, error);
  const auto bytes = fs::file_size(log, error);
  const bool metrics = !device && (error ? is_there(log) : bytes > 0);
  const fs::directory_iterator checkpoints(folder, error);
  const bool has_checkpoints = error ? is_there(folder) : checkpoints != fs::directory_iterator();
  return metrics || has_checkpoints || type_of(run / "latest") == fs::file_type::symlink;
}

std::vector<fs::path> checkpoints_of(const fs::path& run) {
  std::vector<std::pair<CheckpointNumber, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator entry(run / "checkpoints", error), end; !error && entry != end; entry.increment(error)) {
    if (const auto number = number_of(entry->path().filename().string())) found.emplace_back(*number, entry->path());
  }
  // What cannot be listed is not empty: whoever believed that would begin the run anew.
  if (error && !is_nowhere(error))
    fail(ErrorKind::io, "{}: cannot be listed: {}", (run / "checkpoints").string(), error.message());
  std::sort(found.begin(), found.end(), std::greater<>());
  std::vector<fs::path> paths;
  for (auto& [number, path] : found) paths.push_back(std::move(path));
  return paths;
}

ResumePoint find_resume_point(const fs::path& run) {
  std::error_code error;
  if (fs::exists(run / "state.json", error))
    fail(ErrorKind::usage,
         "--out {}: is a checkpoint, and --resume continues a run; give the directory that holds checkpoints/",
         run.string());
  const std::vector<fs::path> all = checkpoints_of(run);
  if (all.empty()) {
    if (holds_a_run(run)) {
      const RunLock ended(run);  // throws if it has not: a run that goes on is not to be removed
      fail(ErrorKind::no_input,
           "--resume: {} holds a run that ended before its first checkpoint, so there is no checkpoint to resume; "
           "start it again with --resume auto, or remove the directory",
           run.string());
    }
    fail(ErrorKind::no_input, "{}: no checkpoint here; a training run with --out {} makes one", run.string(),
         run.string());
  }
  ResumePoint point;
  for (const fs::path& checkpoint : all) {
    const std::string damage = damage_of(checkpoint);
    if (damage.empty()) {
      point.checkpoint = checkpoint;
      if (!point.notes.empty())
        point.notes.push_back(fmt::format("so this resumes from the newest whole one, {}", checkpoint.string()));
      return point;
    }
    point.notes.push_back(fmt::format("{} cannot be used: {}", checkpoint.filename().string(), damage));
    point.set_aside.push_back(checkpoint);
  }
  fail(ErrorKind::bad_data, "--resume: no checkpoint of {} is whole: {}", run.string(), fmt::join(point.notes, "; "));
}

ResumePoint resume_point_at(const fs::path& run, const fs::path& checkpoint) {
  const std::string damage = damage_of(checkpoint);
  if (!damage.empty())
    fail(ErrorKind::bad_data, "--resume {}: is damaged ({}); name another one, or let --resume auto find it",
         checkpoint.string(), damage);
  ResumePoint point{.checkpoint = checkpoint, .notes = {}, .set_aside = {}};
  std::error_code error;
  for (const fs::path& other : checkpoints_of(run)) {
    if (fs::equivalent(other, checkpoint, error)) return point;
    point.set_aside.push_back(other);
    point.notes.push_back(fmt::format("{} is given up", other.string()));
  }
  return {.checkpoint = checkpoint, .notes = {}, .set_aside = {}};  // of another run
}

void set_aside(const ResumePoint& point) {
  for (const fs::path& checkpoint : point.set_aside) {
    const bool damaged = !damage_of(checkpoint).empty();
    const std::string name = checkpoint.string() + (damaged ? ".damaged" : ".given-up");
    fs::path target = name;
    for (int copy = 2; is_there(target); ++copy) target = fmt::format("{}-{}", name, copy);
    std::error_code error;
    fs::rename(checkpoint, target, error);
    if (error)
      fail(ErrorKind::io, "{}: cannot be renamed to {}: {}", checkpoint.string(), target.string(), error.message());
  }
  if (!point.set_aside.empty()) make_durable(point.set_aside.front().parent_path());
}

std::string new_checkpoint_name(const fs::path& run, std::int64_t update) {
  CheckpointNumber number{.update = update};
  for (const fs::path& checkpoint : checkpoints_of(run)) {
    const auto other = number_of(checkpoint.filename().string());
    if (other->update == update) number.repetition = std::max(number.repetition, other->repetition + 1);
  }
  return name_of_checkpoint(number);
}

void point_links(const fs::path& run, const std::string& checkpoint) {
  require_free_links(run);  // before the first is moved
  point_link(run / "latest", fs::path("checkpoints") / checkpoint);
  point_link(run / "model.safetensors", "latest/model.safetensors");
  point_link(run / "config.json", "latest/config.json");
  make_durable(run);
}

std::string prune_checkpoints(const fs::path& run, std::int64_t keep) {
  std::vector<fs::path> all;
  try {
    all = checkpoints_of(run);
  } catch (const Error& error) {
    return error.what();
  }
  // By way of another name: what is half removed when the process is killed is no checkpoint any more.
  const fs::path doomed = run / "checkpoints" / ".removing";
  std::error_code error;
  fs::remove_all(doomed, error);
  std::set<std::int64_t> updates;
  for (const fs::path& checkpoint : all) {
    const bool newest_of_its_update = updates.insert(number_of(checkpoint.filename().string())->update).second;
    const bool fallback_inside_window = keep > 1 && (checkpoint == all[0] || checkpoint == all[1]);
    if (fallback_inside_window || (newest_of_its_update && std::ssize(updates) <= keep)) continue;
    if (!error) fs::rename(checkpoint, doomed, error);
    if (!error) fs::remove_all(doomed, error);
    if (error) return fmt::format("{}: cannot be removed: {}", checkpoint.string(), error.message());
  }
  return {};
}

}  // namespace accrue::train

#include "train/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "nn/mlp.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/run_lock.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A directory in which checkpoints of a small model are saved, one per update.
class RunDirectory : public ::testing::Test {
 protected:
  RunDirectory() { make_run_directory(run()); }
  const fs::path& run() const { return folder.path(); }
  void save() {
    training.window(class_samples(4, 3, 2, 1));
    save_checkpoint(run(), {}, {{"widths", {3, 2}}}, training.parameters, training.optimizer, training.accumulator);
  }
  fs::path checkpoint(int update) const { return run() / "checkpoints" / ("update-0000000" + std::to_string(update)); }

  TemporaryFolder folder;
  Training<nn::Mlp> training{nn::Mlp({3, 2})};
};

TEST_F(RunDirectory, NeverReplacesAFileThatIsNoLink) {
  for (const char* name : {"model.safetensors", "config.json", "latest"}) {
    write_file(folder / name, "precious");
    EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { require_free_links(run()); }), HasSubstr(name));
    EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { require_new_run(run()); }), HasSubstr(name));
    EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { save(); }), HasSubstr(name));
    EXPECT_EQ(read_file(folder / name), "precious");
    fs::remove(folder / name);
    EXPECT_FALSE(fs::is_symlink(folder / "latest"));
    fs::remove_all(run() / "checkpoints");
  }
  fs::create_symlink("../../blobs/0123", folder / "config.json");  // as a download cache lays models out
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { require_new_run(run()); }), HasSubstr("config.json"));
  fs::remove(folder / "config.json");
  write_file(folder / "config.json.new", "precious");
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { save(); }), HasSubstr("config.json"));
  EXPECT_EQ(read_file(folder / "config.json.new"), "precious");
  fs::remove(folder / "config.json.new");
  save();
  require_free_links(run());  // a run's own links are free to be moved on
}

TEST_F(RunDirectory, IsNewUntilARunLeavesSomething) {
  require_new_run(folder / "none");
  require_new_run(run());
  write_file(folder / "metrics.jsonl", "");  // of a run that ended before its first window
  require_new_run(run());
  const auto expect_used = [&] {
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { require_new_run(run()); }),
                AllOf(HasSubstr("--resume"), HasSubstr("another directory")));
  };
  write_file(folder / "metrics.jsonl", "{}\n");
  expect_used();
  fs::remove(folder / "metrics.jsonl");
  fs::create_directory(checkpoint(1).string() + ".tmp");
  expect_used();
  fs::remove(checkpoint(1).string() + ".tmp");
  fs::create_symlink("checkpoints/nowhere", folder / "latest");
  expect_used();
}

TEST_F(RunDirectory, ResumesAtTheLatest) {
  save();
  save();
  EXPECT_EQ(find_resume_point(run()).checkpoint, run() / "latest");
  EXPECT_EQ(find_resume_point(run()).note, "");
}

TEST_F(RunDirectory, FallsBackToTheNewestCheckpointThatReads) {
  save();
  save();
  save();
  fs::create_directory(checkpoint(4).string() + ".tmp");
  const auto expect_fallback = [&](int update) {
    const ResumePoint point = find_resume_point(run());
    EXPECT_EQ(point.checkpoint, checkpoint(update));
    EXPECT_THAT(point.note, AllOf(HasSubstr("latest"), HasSubstr(checkpoint(update).string())));
  };
  fs::remove(folder / "latest");
  expect_fallback(3);
  fs::create_symlink("checkpoints/update-00000009", folder / "latest");
  expect_fallback(3);
  fs::remove(folder / "latest");
  fs::create_symlink("checkpoints/update-00000003", folder / "latest");
  write_file(checkpoint(3) / "state.json", "{");
  expect_fallback(2);
  fs::remove(checkpoint(2) / "optimizer.safetensors");
  expect_fallback(1);
}

TEST_F(RunDirectory, ACheckpointThatWasBeingReplacedIsFound) {
  save();
  fs::rename(checkpoint(1), checkpoint(1).string() + ".old");  // killed before the new one had its name
  EXPECT_EQ(find_resume_point(run()).checkpoint, checkpoint(1).string() + ".old");
  fs::copy(checkpoint(1).string() + ".old", checkpoint(1));  // killed before the old one was gone
  fs::remove(folder / "latest");
  EXPECT_EQ(find_resume_point(run()).checkpoint, checkpoint(1));
}

TEST_F(RunDirectory, DoesNotFallBackFromACheckpointThatIsWhole) {
  save();
  save();
  write_file(checkpoint(2) / "state.json", R"({"format_version": 99})");
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { find_resume_point(run()); }), HasSubstr("version 99"));
  fs::remove(checkpoint(2) / "state.json");
  fs::create_directory(checkpoint(2) / "state.json");  // there, but cannot be read
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_resume_point(run()); }), HasSubstr("state.json"));
}

TEST_F(RunDirectory, WithoutAReadableCheckpointResumingMeetsTheErrorOfTheLatest) {
  save();
  write_file(checkpoint(1) / "state.json", "{");
  EXPECT_EQ(find_resume_point(run()).checkpoint, run() / "latest");
}

TEST_F(RunDirectory, ARunThatEndedBeforeItsFirstCheckpointSaysWhatToDo) {
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_resume_point(run()); }), HasSubstr("no checkpoint here"));
  write_file(folder / "metrics.jsonl", "{}\n");
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_resume_point(run()); }),
              AllOf(HasSubstr("no checkpoint"), HasSubstr("remove the directory"), HasSubstr("another --out")));
  const RunLock lock(run());  // it has not ended
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { find_resume_point(run()); }), HasSubstr("is training there"));
}

TEST_F(RunDirectory, ACheckpointIsNoRun) {
  save();
  EXPECT_THAT(error_of(ErrorKind::usage, [&] { find_resume_point(checkpoint(1)); }), HasSubstr("is a checkpoint"));
}

}  // namespace
}  // namespace accrue::train

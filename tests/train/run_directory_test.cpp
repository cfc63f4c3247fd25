#include "train/run_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "nn/mlp.h"
#include "tests/testing/saving.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/run_lock.h"
#include "train/sealed_folder.h"

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
    save_training(run(), training);
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

TEST_F(RunDirectory, ResumesAtTheNewestWhereverTheLinkPoints) {
  save();
  save();
  const auto expect_newest = [&] {
    EXPECT_EQ(find_resume_point(run()).checkpoint, checkpoint(2));
    EXPECT_THAT(find_resume_point(run()).notes, ::testing::IsEmpty());
    EXPECT_THAT(find_resume_point(run()).set_aside, ::testing::IsEmpty());
  };
  expect_newest();
  fs::remove(folder / "latest");  // killed before it was pointed anywhere
  expect_newest();
  fs::create_symlink("checkpoints/update-00000001", folder / "latest");
  expect_newest();
}

TEST_F(RunDirectory, FallsBackToTheNewestCheckpointThatIsWhole) {
  save();
  save();
  save();
  fs::create_directory(run() / "checkpoints/.saving");
  const auto expect_fallback = [&](int update, int damaged) {
    const ResumePoint point = find_resume_point(run());
    EXPECT_EQ(point.checkpoint, checkpoint(update));
    EXPECT_EQ(std::ssize(point.set_aside), damaged);
    ASSERT_FALSE(point.notes.empty());
    EXPECT_THAT(point.notes.front(), AllOf(HasSubstr("update-00000003 cannot be used"), HasSubstr("state.json")));
    EXPECT_THAT(point.notes.back(), AllOf(HasSubstr("resumes from"), HasSubstr(checkpoint(update).string())));
  };
  write_file(checkpoint(3) / "state.json", "{");
  expect_fallback(2, 1);
  fs::remove(checkpoint(2) / "optimizer.safetensors");
  expect_fallback(1, 2);
  seal_folder(checkpoint(3));  // its checksums are right, its content is not
  expect_fallback(1, 2);

  set_aside(find_resume_point(run()));
  EXPECT_TRUE(fs::exists(checkpoint(3).string() + ".damaged"));
  EXPECT_TRUE(fs::exists(checkpoint(2).string() + ".damaged"));
  EXPECT_EQ(find_resume_point(run()).checkpoint, checkpoint(1));
  EXPECT_THAT(find_resume_point(run()).notes, ::testing::IsEmpty());
}

TEST_F(RunDirectory, WhatIsSetAsideNeverReplacesWhatWasBefore) {
  for (int round = 0; round < 3; ++round) {
    save();
    fs::create_directory(checkpoint(9));
    set_aside({.checkpoint = {}, .notes = {}, .set_aside = {checkpoint(9)}});
  }
  for (const char* suffix : {".damaged", ".damaged-2", ".damaged-3"})
    EXPECT_TRUE(fs::exists(checkpoint(9).string() + suffix)) << suffix;
}

TEST_F(RunDirectory, GoingBackToACheckpointGivesTheNewerOnesUp) {
  for (int update = 1; update <= 4; ++update) save();
  const ResumePoint point = resume_point_at(run(), checkpoint(2));
  EXPECT_EQ(point.checkpoint, checkpoint(2));
  EXPECT_THAT(point.set_aside, ::testing::ElementsAre(checkpoint(4), checkpoint(3)));
  EXPECT_THAT(point.notes, ::testing::ElementsAre(HasSubstr("given up"), HasSubstr("given up")));
  set_aside(point);
  EXPECT_TRUE(fs::exists(checkpoint(4).string() + ".given-up"));
  EXPECT_EQ(find_resume_point(run()).checkpoint, checkpoint(2));
  EXPECT_THAT(resume_point_at(run(), checkpoint(2)).set_aside, ::testing::IsEmpty());

  write_file(checkpoint(1) / "state.json", "{");
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { resume_point_at(run(), checkpoint(1)); }),
              AllOf(HasSubstr("is damaged"), HasSubstr(checkpoint(1).string())));
}

TEST_F(RunDirectory, ACheckpointOfAnotherRunGivesNothingUp) {
  save();
  const TemporaryFolder other;
  make_run_directory(other.path());
  fs::copy(checkpoint(1), other / "elsewhere");
  EXPECT_THAT(resume_point_at(run(), other / "elsewhere").set_aside, ::testing::IsEmpty());
}

TEST_F(RunDirectory, NamesSortInTheOrderOfTheirCheckpoints) {
  EXPECT_EQ(new_checkpoint_name(run(), 7), "update-00000007");
  for (const char* name : {"update-00000007", "update-00000007.1", "update-00000007.10", "update-00000007.9",
                           "update-123456789", "update-00000123", "update-00000006.damaged", "update-", "update-x",
                           "update-1.", "update-1.x", "update--1", "updates-1", ".saving"})
    fs::create_directory(run() / "checkpoints" / name);
  std::vector<std::string> names;
  for (const fs::path& path : checkpoints_of(run())) names.push_back(path.filename().string());
  EXPECT_THAT(names, ::testing::ElementsAre("update-123456789", "update-00000123", "update-00000007.10",
                                            "update-00000007.9", "update-00000007.1", "update-00000007"));
  EXPECT_EQ(new_checkpoint_name(run(), 7), "update-00000007.11");
  EXPECT_EQ(new_checkpoint_name(run(), 6), "update-00000006");
}

TEST_F(RunDirectory, KeepsTheNewestOfItsCheckpoints) {
  for (int update = 1; update <= 5; ++update) {
    training.window(class_samples(4, 3, 2, 1));
    EXPECT_EQ(save_training(run(), training, {.keep = 2}), "");
  }
  EXPECT_THAT(checkpoints_of(run()), ::testing::ElementsAre(checkpoint(5), checkpoint(4)));
  fs::create_directory(run() / "checkpoints/.removing");  // killed while it removed one
  write_file(run() / "checkpoints/.removing/state.json", "{");
  training.window(class_samples(4, 3, 2, 1));
  EXPECT_EQ(save_training(run(), training, {.keep = 1}), "");
  EXPECT_THAT(checkpoints_of(run()), ::testing::ElementsAre(checkpoint(6)));
  EXPECT_FALSE(fs::exists(run() / "checkpoints/.removing"));
  EXPECT_EQ(fs::read_symlink(folder / "latest"), "checkpoints/update-00000006");
}

TEST_F(RunDirectory, IsMadeWhereItsPathLeads) {
  fs::create_directories(folder / "elsewhere/deep");
  fs::create_directory_symlink("elsewhere/deep", folder / "link");
  make_run_directory(folder / "link/../run/deeper");
  EXPECT_TRUE(fs::is_directory(folder / "elsewhere/run/deeper/checkpoints"));
  EXPECT_FALSE(fs::exists(folder / "run"));
}

// A run that diverges and is started again and again saves the weights of its last update each time.
TEST_F(RunDirectory, RepetitionsOfAnUpdatePushNothingOut) {
  for (int update = 1; update <= 3; ++update) {
    training.window(class_samples(4, 3, 2, 1));
    EXPECT_EQ(save_training(run(), training, {.keep = 3}), "");
  }
  const auto repeated = [&](int repetition) {
    return checkpoint(3).string() + (repetition > 0 ? "." + std::to_string(repetition) : "");
  };
  for (int repetition = 1; repetition <= 5; ++repetition) {
    EXPECT_EQ(save_training(run(), training, {.keep = 3}), "");
    EXPECT_THAT(checkpoints_of(run()),
                ::testing::ElementsAre(repeated(repetition), repeated(repetition - 1), checkpoint(2), checkpoint(1)));
  }
}

TEST_F(RunDirectory, DoesNotFallBackFromACheckpointThatIsWhole) {
  save();
  save();
  write_file(checkpoint(2) / "state.json", R"({"format_version": 99})");
  seal_folder(checkpoint(2));
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { find_resume_point(run()); }), HasSubstr("version 99"));
  write_file(checkpoint(2) / "state.json", R"({"format_version": 3})");  // as versions wrote it that had no checksums
  fs::remove(checkpoint(2) / "checksums.xxh128");
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { find_resume_point(run()); }), HasSubstr("version 3"));
}

TEST_F(RunDirectory, AFileThatMayNotBeOpenedIsNoReasonToFallBack) {
  if (geteuid() == 0) GTEST_SKIP() << "root may open every file";
  save();
  save();
  fs::permissions(checkpoint(2) / "state.json", fs::perms::none);
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_resume_point(run()); }), HasSubstr("state.json"));
}

TEST_F(RunDirectory, WithoutAWholeCheckpointNothingIsResumed) {
  save();
  save();
  write_file(checkpoint(1) / "state.json", "{");
  write_file(checkpoint(2) / "config.json", "{");
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { find_resume_point(run()); }),
              AllOf(HasSubstr("no checkpoint of " + run().string() + " is whole"), HasSubstr("config.json"),
                    HasSubstr("state.json")));
}

TEST_F(RunDirectory, ARunThatEndedBeforeItsFirstCheckpointSaysWhatToDo) {
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_resume_point(run()); }), HasSubstr("no checkpoint here"));
  write_file(folder / "metrics.jsonl", "{}\n");
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_resume_point(run()); }),
              AllOf(HasSubstr("no checkpoint"), HasSubstr("--resume auto"), HasSubstr("remove the directory")));
  const RunLock lock(run());  // it has not ended
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { find_resume_point(run()); }), HasSubstr("is training there"));
}

TEST_F(RunDirectory, ACheckpointIsNoRun) {
  save();
  EXPECT_THAT(error_of(ErrorKind::usage, [&] { find_resume_point(checkpoint(1)); }), HasSubstr("is a checkpoint"));
}

}  // namespace
}  // namespace accrue::train

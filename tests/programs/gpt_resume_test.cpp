// `gpt train --resume`: a run in pieces is the run in one go, or nothing happens at all.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <set>
#include <utility>

#include "tests/programs/programs.h"
#include "train/sealed_folder.h"

namespace accrue::testing {
namespace {

namespace fs = std::filesystem;

class GptResume : public GptTest {
 protected:
  ProcessResult resume(std::string_view run, const Arguments& options) const {
    return gpt(training(run, joined({"--resume"}, options)));
  }
  // What the log says of the mathematics, which unlike speed and memory must not depend on interruptions.
  std::vector<nlohmann::json> mathematics(std::string_view run) const {
    std::vector<nlohmann::json> objects = metrics(run);
    for (nlohmann::json& object : objects) {
      object.erase("tokens_per_second");
      object.erase("peak_bytes");
    }
    return objects;
  }
  // A command that refuses to resume the run must leave every file of it as it was.
  void expect_refused(std::string_view run, const Arguments& arguments, ErrorKind kind,
                      const std::vector<std::string>& words) const {
    SCOPED_TRACE(shown(arguments));
    const auto before = snapshot(folder_ / run);
    expect_error(gpt(arguments), kind, words);
    EXPECT_TRUE(snapshot(folder_ / run) == before) << "the refused command changed the run's files";
  }
};

TEST_F(GptResume, GivesTheBitsOfARunInOneGo) {
  // 40 samples, 12 a window: the interruption falls into an epoch, and an epoch's end into the second half.
  const Arguments options = {"--micro-batch",   "4",    "--accumulation", "3",
                             "--learning-rate", "0.01", "--dropout",      "0.1"};
  train("whole", joined(options, {"--steps", "6"}));
  train("parts", joined(options, {"--steps", "3"}));
  const ProcessResult second = resume("parts", joined(options, {"--steps", "6"}));
  expect_success(second);
  EXPECT_THAT(second.out, ::testing::HasSubstr(fmt::format("Resuming {} at update 3 of 6", path("parts"))));
  EXPECT_EQ(mathematics("parts"), mathematics("whole"));
  for (const char* file : {"model.safetensors", "optimizer.safetensors", "config.json", "state.json"})
    EXPECT_EQ(read_file(folder_ / "parts/latest" / file), read_file(folder_ / "whole/latest" / file)) << file;
}

TEST_F(GptResume, CutsTheLogBackToTheCheckpoint) {
  train("whole", {"--steps", "4"});
  train("run", {"--steps", "2"});
  // As a killed run leaves it: updates after the checkpoint, the last line half written.
  const std::string log = read_file(path("run/metrics.jsonl"));
  write_file(path("run/metrics.jsonl"),
             log + R"({"update": 2, "window": 2, "outcome": "skipped"})" + "\n" + R"({"update": 4, "lo)");
  expect_success(resume("run", {"--steps", "4"}));
  EXPECT_EQ(mathematics("run"), mathematics("whole"));
}

TEST_F(GptResume, KeepsEarlierCheckpointsAndResumesTheNewest) {
  train("run", {"--steps", "5", "--save-every", "2"});
  for (const char* name : {"update-00000002", "update-00000004", "update-00000005"})
    EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints" / name / "state.json")) << name;
  EXPECT_EQ(fs::read_symlink(folder_ / "run/latest"), "checkpoints/update-00000005");
  EXPECT_THAT(resume("run", {"--steps", "6"}).out, ::testing::HasSubstr("at update 5 of 6"));
}

TEST_F(GptResume, WithAnotherMicroBatchSeesTheSameSamplesAndRandomNumbers) {
  // The weights stand still, so that a loss tells which samples a window had, and which dropout masks.
  const Arguments options = {"--global-batch", "12", "--learning-rate", "0", "--dropout", "0.3"};
  train("whole", joined(options, {"--steps", "6", "--micro-batch", "4"}));
  train("parts", joined(options, {"--steps", "3", "--micro-batch", "4"}));
  expect_success(resume("parts", joined(options, {"--steps", "6", "--micro-batch", "2"})));
  expect_close(losses("parts"), losses("whole"), rounding);
  EXPECT_EQ(metrics("parts").at(2)["accumulation"], 3);
  EXPECT_EQ(metrics("parts").at(3)["accumulation"], 2);  // the epoch's last 4 samples
  EXPECT_EQ(metrics("parts").at(4)["accumulation"], 6);
}

TEST_F(GptResume, TakesTheModelFromTheCheckpointDropoutIncluded) {
  const Arguments options = {"--learning-rate", "0.01"};
  train("whole", joined(options, {"--steps", "4", "--dropout", "0.2"}));
  train("parts", joined(options, {"--steps", "2", "--dropout", "0.2"}));
  expect_success(resume("parts", joined(options, {"--steps", "4"})));
  EXPECT_EQ(weights("parts"), weights("whole"));
}

TEST_F(GptResume, OfAFinishedRunChangesNothing) {
  train("run", {"--steps", "3"});
  const auto before = snapshot(folder_ / "run");
  expect_success(resume("run", {"--steps", "3"}));
  EXPECT_TRUE(snapshot(folder_ / "run") == before);
}

TEST_F(GptResume, RefusesSettingsThatWouldShowItOtherSamples) {
  train("run", {"--steps", "2", "--micro-batch", "4"});
  write_file(path("longer"), mixed_text(50 * context + 1));
  struct Case {
    Arguments options;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {{"--micro-batch", "4", "--seed", "5"}, {"--seed 0", "5"}},
      {{"--micro-batch", "8"}, {"global batch of 4", "8"}},
      {{"--micro-batch", "4", "--data-order", "sequential"}, {"--data-order shuffled", "sequential"}},
      {{"--micro-batch", "4", "--partial-window", "carry"}, {"--partial-window step", "carry"}},
      {{"--micro-batch", "4", "--validation-fraction", "0.5"}, {"number of training samples of 40", "20"}},
      {{"--micro-batch", "4", "--context", "4"}, {"number of training samples of 40", "80"}},
  };
  for (const Case& c : cases) {
    std::vector<std::string> words = c.words;
    words.insert(words.end(), {"--resume", "use the same, or a new --out"});
    expect_refused("run", training("run", joined({"--resume", "--steps", "4"}, c.options)), ErrorKind::usage, words);
  }
  expect_refused(
      "run",
      {"train", "--text", path("longer"), "--out", path("run"), "--resume", "--steps", "4", "--micro-batch", "4"},
      ErrorKind::bad_data, {"training data has changed", "use the same data"});
}

TEST_F(GptResume, SaysWhichRulesOfTrainingHaveChanged) {
  const Arguments before = {"--schedule", "cosine", "--learning-rate", "0.01", "--clip", "1"};
  train("run", joined(before, {"--steps", "2"}));
  EXPECT_THAT(resume("run", joined(before, {"--steps", "2"})).out,
              ::testing::Not(::testing::HasSubstr("resuming with")));
  const ProcessResult changed =
      resume("run", {"--steps", "4", "--schedule", "linear", "--learning-rate", "0.005", "--clip", "1"});
  expect_success(changed);
  for (const char* line : {"resuming with a changed --schedule: cosine → linear\n",
                           "resuming with a changed --learning-rate: 0.01 → 0.005\n",
                           "resuming with 4 updates instead of 2: the linear schedule is stretched over them\n"})
    EXPECT_THAT(changed.out, ::testing::HasSubstr(line));
  EXPECT_THAT(changed.out, ::testing::Not(::testing::HasSubstr("--clip")));
  EXPECT_THAT(changed.out, ::testing::Not(::testing::HasSubstr("--dropout")));
  const ProcessResult other = resume("run", joined(before, {"--steps", "5", "--dropout", "0.25"}));
  expect_success(other);
  EXPECT_THAT(other.out, ::testing::HasSubstr("resuming with a changed --dropout: 0 → 0.25\n"));
}

// Where each micro-batch has its own mean, their size is part of the update.
TEST_F(GptResume, SaysThatTheSplitHasChangedWhereItMatters) {
  const Arguments options = {"--global-batch", "4", "--normalisation", "micro-batches"};
  const auto with = [&](const char* micro_batch, const char* steps) {
    return joined(options, {"--micro-batch", micro_batch, "--steps", steps});
  };
  train("run", with("2", "2"));
  const ProcessResult resumed = gpt(training("run", joined(with("4", "4"), {"--resume"})));
  expect_success(resumed);
  EXPECT_THAT(resumed.out, ::testing::HasSubstr(
                               "resuming with a changed --normalisation: micro-batches of 2 → micro-batches of 4\n"));
}

TEST_F(GptResume, FallsBackToAnEarlierCheckpointAndSaysSo) {
  train("whole", {"--steps", "6"});
  train("run", {"--steps", "5", "--save-every", "2"});
  fs::remove(folder_ / "run/latest");
  write_file(folder_ / "run/checkpoints/update-00000005/state.json", "{");
  const ProcessResult resumed = resume("run", {"--steps", "6"});
  expect_success(resumed);
  EXPECT_THAT(resumed.out, ::testing::HasSubstr("update-00000005 cannot be used: "));
  EXPECT_THAT(resumed.out, ::testing::HasSubstr(path("run/checkpoints/update-00000004")));
  EXPECT_THAT(resumed.out, ::testing::HasSubstr("at update 4 of 6"));
  EXPECT_EQ(mathematics("run"), mathematics("whole"));
  EXPECT_EQ(weights("run"), weights("whole"));
}

// The same command line until the run is done, whatever there is of it.
TEST_F(GptResume, AutoBeginsARunOrContinuesIt) {
  const Arguments options = {"--micro-batch", "4", "--accumulation", "3", "--dropout", "0.1", "--save-every", "2"};
  const auto auto_training = [&](const char* steps) {
    return gpt(joined(training("run", joined(options, {"--steps", steps, "--resume", "auto"})), tiny_model()));
  };
  train("whole", joined(options, {"--steps", "7"}));
  const ProcessResult begun = auto_training("3");
  expect_success(begun);
  EXPECT_THAT(begun.out, ::testing::Not(::testing::HasSubstr("Resuming")));
  const ProcessResult continued = auto_training("7");
  expect_success(continued);
  EXPECT_THAT(continued.out, ::testing::HasSubstr("at update 3 of 7"));
  EXPECT_EQ(mathematics("run"), mathematics("whole"));
  EXPECT_EQ(weights("run"), weights("whole"));
  const auto before = snapshot(folder_ / "run");
  const ProcessResult finished = auto_training("7");
  expect_success(finished);
  EXPECT_THAT(finished.out, ::testing::HasSubstr("at update 7 of 7, so that nothing is left to do"));
  EXPECT_TRUE(snapshot(folder_ / "run") == before);
}

TEST_F(GptResume, AutoBeginsAgainWhatWasKilledBeforeItsFirstCheckpoint) {
  fs::create_directories(folder_ / "run/checkpoints/.saving");
  write_file(folder_ / "run/checkpoints/.saving/model.safetensors", "half");
  write_file(folder_ / "run/metrics.jsonl", "{\"update\": 1, \"window\": 0}\n");
  train("run", {"--steps", "2", "--resume", "auto"});
  train("whole", {"--steps", "2"});
  EXPECT_EQ(mathematics("run"), mathematics("whole"));
  EXPECT_EQ(weights("run"), weights("whole"));
}

// Damage must not start a run over, which would end with the loss of what is there.
// Killed when its last checkpoint had its name, but no link pointed there and an old one was half removed.
TEST_F(GptResume, TidiesUpAfterAKillBehindTheLastCheckpoint) {
  train("whole", {"--steps", "3", "--save-every", "1", "--keep", "2"});
  train("run", {"--steps", "3", "--save-every", "1", "--keep", "2"});
  fs::remove(folder_ / "run/latest");
  fs::create_symlink("checkpoints/update-00000002", folder_ / "run/latest");
  fs::copy(folder_ / "run/checkpoints/update-00000002", folder_ / "run/checkpoints/update-00000001");
  fs::create_directory(folder_ / "run/checkpoints/.removing");
  expect_success(resume("run", {"--steps", "3", "--save-every", "1", "--keep", "2"}));
  EXPECT_EQ(fs::read_symlink(folder_ / "run/latest"), "checkpoints/update-00000003");
  EXPECT_EQ(weights("run"), weights("whole"));
  EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints/update-00000001"));
  EXPECT_FALSE(fs::exists(folder_ / "run/checkpoints/.removing"));
}

TEST_F(GptResume, AutoNeverBeginsAgainWhereAllCheckpointsAreDamaged) {
  train("run", {"--steps", "2"});
  write_file(folder_ / "run/latest/state.json", "{");
  expect_refused("run", joined(training("run", {"--steps", "4", "--resume", "auto"}), tiny_model()),
                 ErrorKind::bad_data,
                 {"no checkpoint of " + path("run") + " is whole", "update-00000002", "state.json"});
}

TEST_F(GptResume, APathGoesBackToThatCheckpoint) {
  train("whole", {"--steps", "6"});
  train("run", {"--steps", "5", "--save-every", "1", "--keep", "0"});
  const ProcessResult back =
      gpt(training("run", {"--resume", path("run/checkpoints/update-00000002"), "--steps", "3"}));
  expect_success(back);
  EXPECT_THAT(back.out, ::testing::HasSubstr("update-00000005 is given up"));
  EXPECT_THAT(back.out, ::testing::HasSubstr("at update 2 of 3"));
  EXPECT_EQ(metrics("run").size(), 3u);
  EXPECT_TRUE(fs::exists(folder_ / "run/checkpoints/update-00000005.given-up"));
  expect_success(resume("run", {"--steps", "6"}));
  EXPECT_EQ(mathematics("run"), mathematics("whole"));
  EXPECT_EQ(weights("run"), weights("whole"));
}

TEST_F(GptResume, APathOfAnotherRunBeginsOneWithItsCheckpoint) {
  train("whole", {"--steps", "6"});
  train("run", {"--steps", "4", "--save-every", "2"});
  const auto untouched = snapshot(folder_ / "run");
  for (const auto& [name, from] : {std::pair("branch", "run/checkpoints/update-00000002"), {"end", "run"}}) {
    const ProcessResult branched = gpt(training(name, {"--resume", path(from), "--steps", "6"}));
    expect_success(branched);
    EXPECT_THAT(branched.out, ::testing::HasSubstr("Resuming " + path("run/checkpoints/update-0000000")));
    EXPECT_EQ(weights(name), weights("whole"));
    EXPECT_TRUE(snapshot(folder_ / "run") == untouched);
    expect_error(gpt(training(name, {"--resume", path(from), "--steps", "6"})), ErrorKind::usage,
                 {"already holds a run"});
  }
  EXPECT_EQ(metrics("branch").size(), 4u);
  // One with nothing left to do has a checkpoint of its own all the same.
  expect_success(gpt(training("done", {"--resume", path("run"), "--steps", "4"})));
  EXPECT_EQ(weights("done"), weights("run"));
  expect_error(gpt(training("none", {"--resume", path("nowhere"), "--steps", "6"})), ErrorKind::no_input,
               {"--resume", path("nowhere"), "neither a checkpoint nor a run"});
  EXPECT_FALSE(fs::exists(folder_ / "none"));
}

TEST_F(GptResume, KeepsTheNewestCheckpoints) {
  const auto kept = [&](const char* run) {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder_ / run / "checkpoints"))
      names.insert(entry.path().filename().string());
    return names;
  };
  train("some", {"--steps", "5", "--save-every", "1"});
  EXPECT_THAT(kept("some"), ::testing::ElementsAre("update-00000003", "update-00000004", "update-00000005"));
  train("one", {"--steps", "5", "--save-every", "1", "--keep", "1"});
  EXPECT_THAT(kept("one"), ::testing::ElementsAre("update-00000005"));
  train("all", {"--steps", "5", "--save-every", "1", "--keep", "0"});
  EXPECT_EQ(kept("all").size(), 5u);
  // Left out at a resume, the option is what it was: what a run was told to keep is not removed by an oversight.
  expect_success(resume("all", {"--steps", "6", "--save-every", "1"}));
  EXPECT_EQ(kept("all").size(), 6u);
  const ProcessResult fewer = resume("all", {"--steps", "7", "--save-every", "1", "--keep", "2"});
  expect_success(fewer);
  EXPECT_THAT(fewer.out, ::testing::HasSubstr("resuming with a changed --keep: 0 → 2"));
  EXPECT_THAT(kept("all"), ::testing::ElementsAre("update-00000006", "update-00000007"));
}

// However many threads compute: partial sums are cut by the shapes alone.
TEST_F(GptResume, AnotherNumberOfThreadsChangesNoBit) {
  const Arguments options = {"--micro-batch", "4", "--accumulation", "3", "--dropout", "0.1"};
  train("whole", joined(options, {"--steps", "4"}));
  train("run", joined(options, {"--steps", "2"}));
  const auto go_on = [&](const char* threads, const char* steps) {
    return gpt(joined({"train", "--text", path("text"), "--out", path("run"), "--threads", threads, "--resume"},
                      joined(options, {"--steps", steps})));
  };
  expect_success(go_on("2", "3"));
  expect_success(go_on("3", "4"));
  EXPECT_EQ(mathematics("run"), mathematics("whole"));
  EXPECT_EQ(weights("run"), weights("whole"));
}

TEST_F(GptResume, NeedsARunAndNotACheckpoint) {
  train("run", {"--steps", "2"});
  expect_refused("run", training("run/checkpoints/update-00000002", {"--resume", "--steps", "4"}), ErrorKind::usage,
                 {"update-00000002", "is a checkpoint"});
  expect_refused("run", joined(training("run/checkpoints/update-00000002", {"--steps", "4"}), tiny_model()),
                 ErrorKind::cannot_create, {"update-00000002/model.safetensors"});
}

TEST_F(GptResume, RefusesAnotherModelThanTheCheckpoints) {
  train("run", {"--steps", "2"});
  const std::vector<Arguments> others = {
      {"--layers", "2"}, {"--heads", "4"}, {"--width", "32"}, {"--vocabulary", "300"}, {"--context", "16"}};
  for (const Arguments& other : others)
    expect_refused("run", training("run", joined({"--resume", "--steps", "4"}, other)), ErrorKind::usage,
                   {fmt::format("{} {}", other[0], other[1]), path("run")});
}

TEST_F(GptResume, AnExistingRunIsNotOverwritten) {
  train("run", {"--steps", "2"});
  expect_refused("run", joined(training("run", {"--steps", "4"}), tiny_model()), ErrorKind::usage,
                 {"already holds a run", "--resume"});
  fs::remove(folder_ / "run/latest");
  fs::remove_all(folder_ / "run/checkpoints");
  expect_refused("run", joined(training("run", {"--steps", "4"}), tiny_model()), ErrorKind::usage,
                 {"already holds a run", "--resume", "another directory"});
  expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::no_input,
                 {"no checkpoint", "--resume auto", "remove the directory"});
}

TEST_F(GptResume, ADirectoryInWhichAnotherProcessTrainsIsLeftAlone) {
  train("run", {"--steps", "2"});
  const int fd = ::open(path("run/lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::cannot_create,
                 {path("run"), "another process"});
  fs::create_directory(folder_ / "fresh");
  write_file(folder_ / "fresh/lock", "");
  const int fresh = ::open(path("fresh/lock").c_str(), O_RDWR);
  ASSERT_EQ(::flock(fresh, LOCK_EX), 0);
  expect_error(gpt(joined(training("fresh", {"--steps", "2"}), tiny_model())), ErrorKind::cannot_create,
               {path("fresh"), "another process"});
  ::close(fd);
  ::close(fresh);
  expect_success(resume("run", {"--steps", "4"}));
}

TEST_F(GptResume, WithoutACheckpointSaysThatThereIsNone) {
  expect_error(resume("none", {"--steps", "4"}), ErrorKind::no_input, {path("none"), "no checkpoint"});
  EXPECT_FALSE(fs::exists(folder_ / "none"));
  fs::create_directory(folder_ / "empty");
  expect_refused("empty", training("empty", {"--resume", "--steps", "4"}), ErrorKind::no_input, {"no checkpoint"});
}

TEST_F(GptResume, RefusesADamagedState) {
  train("run", {"--steps", "2"});
  const fs::path file = folder_ / "run/latest/state.json";
  const nlohmann::json state = nlohmann::json::parse(read_file(file));
  const auto with = [&](const char* key, const nlohmann::json& value) {
    nlohmann::json changed = state;
    changed[key] = value;
    return changed.dump();
  };
  nlohmann::json without_window = state;
  without_window.erase("window");
  struct Case {
    std::string content;
    std::vector<std::string> words;
  };
  const std::vector<Case> cases = {
      {"", {"no JSON object"}},
      {state.dump().substr(0, 40), {"not valid JSON"}},
      {"[1, 2]", {"no JSON object"}},
      {std::string("\xff\xfe\0\0", 4), {"no JSON object"}},
      {without_window.dump(), {"'window' is missing"}},
      {with("update", "two"), {"'update'", "wrong type"}},
      {with("update", 2.5), {"'update'", "wrong type"}},
      {with("window", std::uint64_t{1} << 63), {"'window'", "wrong type"}},
      {with("seed", -1), {"'seed'", "wrong type"}},
      {with("update", -1), {"'update' is -1", "must be in [0"}},
      {with("update", 7), {"counters contradict"}},
      {with("micro", -1), {"'micro' is -1", "must be in [0"}},
      {with("replayed", -1), {"'replayed' is -1", "must be in [0"}},
      {with("format_version", 99), {"version 99"}},
      {with("seed", "zero"), {"'seed'", "wrong type"}},
      {with("loss_scale", 0), {"loss_scale"}},
      {with("optimizer", 3), {"'optimizer'", "wrong type"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.content);
    write_file(file, c.content);
    train::seal_folder(folder_ / "run/latest");
    std::vector<std::string> words = c.words;
    words.push_back("state.json");
    expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data, words);
  }
}

TEST_F(GptResume, RefusesDamagedTensors) {
  train("run", {"--steps", "2"});
  for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
    SCOPED_TRACE(name);
    const fs::path file = folder_ / "run/latest" / name;
    const std::string content = read_file(file);
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{5}, std::size_t{100}, content.size() / 2, content.size() - 1}) {
      SCOPED_TRACE(size);
      write_file(file, content.substr(0, size));
      expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data, {name});
    }
    std::string renamed = content;
    renamed.replace(renamed.find("wte.weight"), 3, "abc");
    write_file(file, renamed);
    train::seal_folder(folder_ / "run/latest");
    expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data,
                   {name, "wte.weight", "missing"});
    fs::remove(file);
    expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data, {name, "is missing"});
    write_file(file, content);
    train::seal_folder(folder_ / "run/latest");
  }
  expect_success(resume("run", {"--steps", "4"}));
}

TEST_F(GptResume, RefusesTensorsOfAnotherShape) {
  train("run", {"--steps", "2"});
  expect_success(
      gpt(training("wide", {"--steps", "2", "--layers", "1", "--heads", "2", "--width", "32", "--context", "8"})));
  for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
    const std::string own = read_file(folder_ / "run/latest" / name);
    write_file(folder_ / "run/latest" / name, read_file(folder_ / "wide/latest" / name));
    train::seal_folder(folder_ / "run/latest");
    expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data,
                   {name, "has shape [256, 32], but the model needs [256, 16]", "another model"});
    write_file(folder_ / "run/latest" / name, own);
  }
}

TEST_F(GptResume, RefusesADamagedConfiguration) {
  train("run", {"--steps", "2"});
  const fs::path file = folder_ / "run/latest/config.json";
  const nlohmann::json config = nlohmann::json::parse(read_file(file));
  for (const char* key : {"vocab_size", "n_positions", "n_layer", "n_head", "n_embd", "resid_pdrop"}) {
    for (const nlohmann::json& value :
         {nlohmann::json(-1), nlohmann::json(1.5), nlohmann::json("x"), nlohmann::json(nullptr)}) {
      SCOPED_TRACE(fmt::format("{} {}", key, value.dump()));
      nlohmann::json changed = config;
      changed[key] = value;
      write_file(file, changed.dump());
      train::seal_folder(folder_ / "run/latest");
      expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data, {"config.json"});
    }
  }
  nlohmann::json huge = config;
  huge["n_layer"] = std::int64_t{1} << 60;
  write_file(file, huge.dump());
  train::seal_folder(folder_ / "run/latest");
  expect_refused("run", training("run", {"--resume", "--steps", "4"}), ErrorKind::bad_data, {"config.json"});
}

// The loss scale is part of what a checkpoint keeps: it doubles here after every second update.
TEST_F(GptResume, ADynamicLossScaleGoesOnWhereItStood) {
  const Arguments recipe = {"--micro-batch", "2",       "--accumulation",    "2",
                            "--loss-scale",  "dynamic", "--growth-interval", "2"};
  train("whole", joined(recipe, {"--steps", "5"}));
  train("halved", joined(recipe, {"--steps", "3"}));
  expect_success(gpt(training("halved", joined(recipe, {"--steps", "5", "--resume"}))));
  EXPECT_EQ(losses("halved"), losses("whole"));
  std::vector<double> scales;
  for (const nlohmann::json& window : metrics("halved")) scales.push_back(window.at("loss_scale").get<double>());
  EXPECT_THAT(scales, ::testing::ElementsAre(65536, 65536, 131072, 131072, 262144));
  // A fixed scale begins anew.
  expect_success(gpt(training("halved", {"--micro-batch", "2", "--accumulation", "2", "--steps", "6", "--resume"})));
  EXPECT_EQ(metrics("halved").back().at("loss_scale").get<double>(), 1);
}

}  // namespace
}  // namespace accrue::testing

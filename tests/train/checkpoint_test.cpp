#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "nn/mlp.h"
#include "tests/testing/saving.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "tests/train/saved_checkpoint.h"
#include "train/run_directory.h"
#include "train/sealed_folder.h"
#include "train/weights_file.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using namespace checkpoint_test;

TEST_F(Checkpoint, ComesBackWithEveryBitOfWeightsOptimizerAndCounters) {
  Mlp fresh{nn::Mlp({3, 5, 2})};
  ASSERT_NE(fresh.bits(), trained.bits());
  // By its own name: the link may lead elsewhere by the time that the files are read.
  EXPECT_EQ(find_checkpoint(run()), fs::canonical(run() / "latest"));
  resume(find_checkpoint(run()), fresh);
  EXPECT_EQ(fresh.bits(), trained.bits());
  const Counters actual = fresh.accumulator.counters(), expected = trained.accumulator.counters();
  EXPECT_EQ(actual.micro, expected.micro);
  EXPECT_EQ(actual.window, expected.window);
  EXPECT_EQ(actual.update, expected.update);
  // And it goes on alike.
  fresh.window(class_samples(4, 3, 2, 3));
  trained.window(class_samples(4, 3, 2, 3));
  EXPECT_EQ(fresh.bits(), trained.bits());
}

TEST_F(Checkpoint, TheLatestIsTheNewestAndTheOlderOnesStay) {
  trained.window(class_samples(4, 3, 2, 3));
  save(trained);
  EXPECT_TRUE(fs::exists(run() / "checkpoints" / "update-00000002" / "state.json"));
  EXPECT_EQ(fs::read_symlink(run() / "latest"), fs::path("checkpoints") / "update-00000003");
  Mlp fresh{nn::Mlp({3, 5, 2})};
  resume(find_checkpoint(run()), fresh);
  EXPECT_EQ(fresh.bits(), trained.bits());
  Mlp older{nn::Mlp({3, 5, 2})};
  resume(find_checkpoint(run() / "checkpoints" / "update-00000002"), older);
  EXPECT_EQ(older.accumulator.counters().update, 2);
  EXPECT_EQ(read_json(run() / "config.json")["widths"], (nlohmann::json{3, 5, 2}));
}

TEST_F(Checkpoint, SavingTheSameUpdateAgainLeavesTheFirstAlone) {
  write_file(run() / "checkpoints" / "update-00000002" / "state.json", "damaged");
  save(trained);
  EXPECT_EQ(fs::read_symlink(run() / "latest"), fs::path("checkpoints") / "update-00000002.1");
  EXPECT_EQ(read_file(run() / "checkpoints" / "update-00000002" / "state.json"), "damaged");
  Mlp fresh{nn::Mlp({3, 5, 2})};
  resume(find_checkpoint(run()), fresh);
  EXPECT_EQ(fresh.bits(), trained.bits());
}

TEST_F(Checkpoint, LeavesNoTemporaryFilesBehind) {
  save(trained);
  for (const auto& entry : fs::recursive_directory_iterator(run())) {
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
    EXPECT_EQ(entry.path().string().find(".new"), std::string::npos) << entry.path();
    EXPECT_EQ(entry.path().string().find("/."), std::string::npos) << entry.path();
  }
}

TEST_F(Checkpoint, ADirectoryWithoutOneIsNoInput) {
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { find_checkpoint(folder.path()); }), HasSubstr("no checkpoint here"));
  error_of(ErrorKind::no_input, [&] { find_checkpoint(folder / "nowhere"); });
}

TEST_F(Checkpoint, ARunDirectoryThatCannotBeMadeIsCannotCreate) {
  write_file(folder / "file", "");
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { make_run_directory(folder / "file" / "run"); }),
              HasSubstr("cannot be created"));
}

TEST_F(Checkpoint, AnotherSettingIsAUsageErrorThatNamesBothValues) {
  const auto changed = [&](auto change) {
    RunSettings other = saved_settings;
    change(other);
    return refusal(ErrorKind::usage, other);
  };
  EXPECT_THAT(changed([](RunSettings& s) { s.program = "gpt"; }), AllOf(HasSubstr("mlp"), HasSubstr("gpt")));
  EXPECT_THAT(changed([](RunSettings& s) { s.seed = 4; }), AllOf(HasSubstr("--seed 3"), HasSubstr("has 4")));
  EXPECT_THAT(changed([](RunSettings& s) { s.global_batch = 16; }),
              AllOf(HasSubstr("global batch of 8"), HasSubstr("16")));
  EXPECT_THAT(changed([](RunSettings& s) { s.data_order = "sequential"; }), HasSubstr("--data-order shuffled"));
  EXPECT_THAT(changed([](RunSettings& s) { s.partial_window = "drop"; }), HasSubstr("--partial-window step"));
  EXPECT_THAT(changed([](RunSettings& s) { s.dataset_size = 99; }), AllOf(HasSubstr("100"), HasSubstr("99")));
}

TEST_F(Checkpoint, OtherDataIsBadData) {
  RunSettings other = saved_settings;
  other.data.hash = 0xabd;
  EXPECT_THAT(refusal(ErrorKind::bad_data, other), AllOf(HasSubstr("training data has changed"), HasSubstr("0abd")));
  other = saved_settings;
  other.data.bytes = 5;
  EXPECT_THAT(refusal(ErrorKind::bad_data, other), AllOf(HasSubstr("5 bytes"), HasSubstr("4 bytes")));
}

TEST_F(Checkpoint, AnotherNumberOfSamplesNamesTheOptionsThatDecideIt) {
  RunSettings other = saved_settings;
  other.dataset_size = 99;
  EXPECT_THAT(refusal(ErrorKind::usage, other), AllOf(HasSubstr("--context"), HasSubstr("--validation-fraction")));
}

TEST_F(Checkpoint, GivesBackTheSettingsItWasSavedWith) {
  Mlp fresh{nn::Mlp({3, 5, 2})};
  RunSettings changed = saved_settings;
  changed.steps = 20;
  changed.rules = {{"--clip", "0.5"}};
  EXPECT_EQ(
      resume_checkpoint(find_checkpoint(run()), changed, fresh.parameters, fresh.optimizer, fresh.accumulator).settings,
      saved_settings);
}

TEST_F(Checkpoint, AModelOfAnotherShapeIsBadDataAndChangesNothing) {
  Mlp wider{nn::Mlp({3, 6, 2})};
  const TrainingBits before = wider.bits();
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { resume(find_checkpoint(run()), wider); }),
              AllOf(HasSubstr("layers.0.weight"), HasSubstr("[3, 5]"), HasSubstr("[3, 6]")));
  EXPECT_EQ(wider.bits(), before);
  Mlp deeper{nn::Mlp({3, 5, 2, 2})};
  error_of(ErrorKind::bad_data, [&] { resume(find_checkpoint(run()), deeper); });
}

TEST_F(Checkpoint, AMissingTensorIsBadDataAndChangesNothing) {
  std::vector<FileTensor> tensors = parameter_tensors(trained.parameters);
  tensors.pop_back();
  write_tensors(run() / "latest" / "model.safetensors", tensors);
  seal_folder(run() / "latest");
  EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("layers.1.bias"), HasSubstr("is missing")));
}

TEST_F(Checkpoint, ATensorOfNoPartOfTheModelIsBadDataAndChangesNothing) {
  std::vector<FileTensor> tensors = parameter_tensors(trained.parameters);
  tensors.push_back({.name = "layers.2.weight", .tensor = Tensor::zeros({2, 2})});
  write_tensors(run() / "latest" / "model.safetensors", tensors);
  seal_folder(run() / "latest");
  EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("layers.2.weight"), HasSubstr("no part of the model")));
}

TEST_F(Checkpoint, ADamagedOptimizerFileChangesNothingEither) {
  // The weights before it are fine: they must not be taken over alone.
  write_file(run() / "latest" / "optimizer.safetensors", "not tensors");
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("checksum"));
  seal_folder(run() / "latest");
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("optimizer.safetensors"));
  fs::remove(run() / "latest" / "optimizer.safetensors");
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("optimizer.safetensors is missing"));
}

TEST_F(Checkpoint, ATensorThatIsNoFloatChangesNothing) {
  SafetensorsWriter writer;
  std::vector<std::vector<std::int32_t>> values;
  for (const Parameter& parameter : trained.parameters.parameters()) {
    values.emplace_back(static_cast<std::size_t>(parameter.shape().numel()));
    writer.add(parameter.name(), DType::i32, parameter.shape(), std::as_bytes(std::span(values.back())));
  }
  writer.write(run() / "latest" / "model.safetensors");
  seal_folder(run() / "latest");
  EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("I32"), HasSubstr("BF16")));
}

TEST_F(Checkpoint, AnOptimizerFileOfAnotherModelChangesNothing) {
  Mlp other{nn::Mlp({3, 6, 2})};
  write_tensors(run() / "latest" / "optimizer.safetensors", optimizer_tensors(other.parameters, other.optimizer));
  seal_folder(run() / "latest");
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("m.layers.0.weight"));
}

TEST_F(Checkpoint, ADamagedStateIsBadDataAndChangesNothing) {
  const fs::path file = run() / "latest" / "state.json";
  const std::string whole = read_file(file);
  for (const std::string& damaged : {std::string("{"), std::string("[]"), std::string(),
                                     whole.substr(0, whole.size() / 2), std::string("\xff\xfe")}) {
    write_file(file, damaged);
    EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("state.json"), HasSubstr("checksum")));
    seal_folder(run() / "latest");
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("state.json"));
  }
}

TEST_F(Checkpoint, AMissingOrMistypedStateValueIsNamed) {
  for (const std::string key :
       {"program", "seed",           "global_batch", "optimizer",    "micro",      "window",        "update",
        "skipped", "empty",          "replayed",     "loss_scaling", "loss_scale", "clean_windows", "floor_overflows",
        "trainer", "format_version", "data_bytes",   "data_hash",    "steps",      "rules"}) {
    change_state([&](nlohmann::json& json) { json.erase(key); });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'" + key + "'"));
    save(trained);
    change_state([&](nlohmann::json& json) { json[key] = nlohmann::json::array(); });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'" + key + "'"));
    save(trained);
  }
}

TEST_F(Checkpoint, CountersThatContradictEachOtherAreBadData) {
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, int>>{{"window", 7}, {"update", 1}, {"clean_windows", 9}}) {
    change_state([&, k = key, v = value](nlohmann::json& json) { json[k] = v; });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("contradict")) << key;
    save(trained);
  }
}

TEST_F(Checkpoint, ALossScaleThatIsNoPowerOfTwoIsBadData) {
  for (const double scale : {0.0, -1.0, 3.0}) {
    change_state([&](nlohmann::json& json) { json["loss_scale"] = scale; });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("loss_scale is"));
  }
  save(trained);
  change_state([](nlohmann::json& json) { json["loss_scale"] = 1e300; });  // which no float holds
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'loss_scale' is"));
  save(trained);
  change_state([](nlohmann::json& json) { json["loss_scaling"] = "sometimes"; });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("loss_scaling is 'sometimes'"));
}

TEST_F(Checkpoint, NumbersOutsideTheirTypeAreBadData) {
  for (const char* value : {"1.5", "1e30", "99999999999999999999999", "true", "null"}) {
    for (const std::string key : {"micro", "update", "seed", "format_version"}) {
      change_state([&](nlohmann::json& json) { json[key] = nlohmann::json::parse(value); });
      EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'" + key + "'")) << value;
      save(trained);
    }
  }
  change_state([](nlohmann::json& json) { json["seed"] = -3; });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'seed'"));
  save(trained);
  change_state([](nlohmann::json& json) { json["format_version"] = (std::int64_t{1} << 32) + 2; });  // 2 in 32 bits
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'format_version'"));
}

// A run that goes on from there must neither overflow nor write a checkpoint that cannot be read.
TEST_F(Checkpoint, CountersOutsideWhatARunCanCountAreBadData) {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  for (const char* key :
       {"micro", "window", "update", "skipped", "empty", "replayed", "clean_windows", "floor_overflows"}) {
    for (const std::int64_t value : {std::int64_t{-1}, (std::int64_t{1} << 53) + 1, largest}) {
      change_state([&](nlohmann::json& json) { json[key] = value; });
      EXPECT_THAT(
          refusal(ErrorKind::bad_data),
          AllOf(HasSubstr("'" + std::string(key) + "' is " + std::to_string(value)), HasSubstr("must be in [0")));
      save(trained);
    }
  }
  change_state([&](nlohmann::json& json) { json["global_batch"] = largest / 2; });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("beyond what can be counted"));
}

// A checkpoint has no link DIR/latest in it: what is named counts, and not what lies in the current directory.
TEST_F(Checkpoint, IsFoundByItsNameWhereverThePersonStands) {
  save(trained);
  const fs::path older = checkpoints_of(run()).back(), newest = checkpoints_of(run()).front(),
                 before = fs::current_path();
  ASSERT_NE(older, newest);
  fs::current_path(newest);
  EXPECT_EQ(find_checkpoint(older), older);
  error_of(ErrorKind::no_input, [&] { find_checkpoint(folder / "nowhere"); });
  fs::current_path(before);
}

TEST_F(Checkpoint, AnotherFormatVersionIsBadData) {
  change_state([](nlohmann::json& json) { json["format_version"] = 1; });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("format version 1, but this Accrue reads version 4"));
}

TEST_F(Checkpoint, AnotherOptimizerIsAUsageError) {
  change_state([](nlohmann::json& json) { json["optimizer"] = "sgd"; });
  EXPECT_THAT(refusal(ErrorKind::usage), AllOf(HasSubstr("sgd"), HasSubstr("adamw")));
}

bool same_report(const WindowReport& a, const WindowReport& b) {
  const auto same = [](double x, double y) { return x == y || (std::isnan(x) && std::isnan(y)); };
  const bool same_overflow = a.overflow.has_value() == b.overflow.has_value() &&
                             (!a.overflow || (a.overflow->parameter == b.overflow->parameter &&
                                              a.overflow->micro_batch == b.overflow->micro_batch));
  return a.outcome == b.outcome && a.window == b.window && a.update == b.update && a.micro_batches == b.micro_batches &&
         a.samples == b.samples && a.targets == b.targets && same(a.loss, b.loss) && same(a.grad_norm, b.grad_norm) &&
         a.learning_rate == b.learning_rate && a.loss_scale == b.loss_scale && a.next_loss_scale == b.next_loss_scale &&
         a.seconds == b.seconds && a.timed_samples == b.timed_samples && same_overflow;
}

TEST_F(Checkpoint, WhatTheTrainerHasStillToSaySurvives) {
  const WindowReport attempt{.outcome = Outcome::replayed,
                             .window = 2,
                             .update = 2,
                             .micro_batches = 3,
                             .samples = 6,
                             .targets = 40,
                             .loss = std::numeric_limits<double>::infinity(),
                             .grad_norm = std::numeric_limits<double>::quiet_NaN(),
                             .learning_rate = 0.1,
                             .loss_scale = 1024,
                             .next_loss_scale = 512,
                             .seconds = 0.25,
                             .timed_samples = 4,
                             .overflow = Overflow{.parameter = "layers.0.weight", .micro_batch = 1}};
  WindowReport second = attempt, done = attempt;
  second.overflow->micro_batch.reset();
  second.loss = -std::numeric_limits<double>::infinity();
  done.outcome = Outcome::updated;
  done.overflow.reset();
  done.loss = 1.0 / 3;
  save(trained, {.replayed = {attempt, second}, .unlogged = done});
  Mlp fresh{nn::Mlp({3, 5, 2})};
  const TrainerState back = resume(find_checkpoint(run()), fresh).trainer;
  ASSERT_EQ(back.replayed.size(), 2u);
  EXPECT_TRUE(same_report(back.replayed[0], attempt));
  EXPECT_TRUE(same_report(back.replayed[1], second));
  ASSERT_TRUE(back.unlogged.has_value());
  EXPECT_TRUE(same_report(*back.unlogged, done));
}

TEST_F(Checkpoint, DamageInWhatTheTrainerHasToSayIsNamed) {
  const WindowReport done{.outcome = Outcome::updated, .window = 1, .update = 2, .samples = 4, .targets = 4};
  const auto refused = [&](const std::function<void(nlohmann::json&)>& change) {
    save(trained, {.replayed = {}, .unlogged = done});
    change_state([&](nlohmann::json& json) { change(json["trainer"]); });
    return refusal(ErrorKind::bad_data);
  };
  EXPECT_THAT(refused([](auto& json) { json["replayed"] = 3; }), HasSubstr("'trainer'"));
  EXPECT_THAT(refused([](auto& json) { json["replayed"] = std::vector<int>(65); }), HasSubstr("'trainer'"));
  EXPECT_THAT(refused([](auto& json) { json["replayed"] = {1}; }), HasSubstr("report is no object"));
  EXPECT_THAT(refused([](auto& json) { json["unlogged"]["outcome"] = "lost"; }), HasSubstr("'outcome'"));
  EXPECT_THAT(refused([](auto& json) { json["unlogged"]["outcome"] = "skipped"; }), HasSubstr("contradict"));
  EXPECT_THAT(refused([](auto& json) { json["unlogged"]["loss"] = "none"; }), HasSubstr("'loss'"));
  EXPECT_THAT(refused([](auto& json) { json["unlogged"]["samples"] = -1; }), HasSubstr("'samples' is -1"));
}

TEST_F(Checkpoint, WeightsLoadOnTheirOwn) {
  Mlp fresh{nn::Mlp({3, 5, 2})};
  load_weights(find_checkpoint(run()), fresh.parameters);
  EXPECT_EQ(bits_of(fresh.parameters.master()), bits_of(trained.parameters.master()));
}

TEST(ReadJson, MissingAndDamagedFilesHaveTheirOwnErrors) {
  const TemporaryFolder folder;
  error_of(ErrorKind::no_input, [&] { read_json(folder / "none.json"); });
  write_file(folder / "bad.json", "{\"a\": }");
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { read_json(folder / "bad.json"); }), HasSubstr("bad.json"));
}

}  // namespace
}  // namespace accrue::train

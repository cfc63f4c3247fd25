#include "train/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "nn/mlp.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/run_directory.h"
#include "train/weights_file.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;
using Mlp = Training<nn::Mlp>;

const RunSettings saved_settings{.program = "mlp",
                                 .data = {.bytes = 4, .hash = 0xabc},
                                 .seed = 3,
                                 .global_batch = 8,
                                 .data_order = "shuffled",
                                 .partial_window = "step",
                                 .dataset_size = 100,
                                 .steps = 10,
                                 .rules = {{"--clip", "1"}}};

// A run directory with one checkpoint of a model that has done two updates.
class Checkpoint : public ::testing::Test {
 protected:
  Checkpoint() {
    trained.window(class_samples(4, 3, 2, 1));
    trained.window(class_samples(4, 3, 2, 2));
    make_run_directory(run());
    save(trained);
  }
  fs::path run() const { return folder / "run"; }
  void save(Mlp& training) {
    save_checkpoint(run(), saved_settings, {{"widths", {3, 5, 2}}}, training.parameters, training.optimizer,
                    training.accumulator);
  }
  static void resume(const fs::path& checkpoint, Mlp& training, const RunSettings& with = saved_settings) {
    resume_checkpoint(checkpoint, with, training.parameters, training.optimizer, training.accumulator);
  }
  // Resuming must fail with this kind of error, and change nothing. Returns the message.
  std::string refusal(ErrorKind kind, const RunSettings& with = saved_settings) {
    Mlp fresh{nn::Mlp({3, 5, 2})};
    const TrainingBits before = fresh.bits();
    const std::string message = error_of(kind, [&] { resume(find_checkpoint(run()), fresh, with); });
    EXPECT_EQ(fresh.bits(), before) << "a refused checkpoint changed something";
    EXPECT_EQ(fresh.accumulator.counters().window, 0);
    return message;
  }
  void change_state(const std::function<void(nlohmann::json&)>& change) {
    const fs::path file = run() / "latest" / "state.json";
    nlohmann::json json = read_json(file);
    change(json);
    write_file(file, json.dump());
  }

  TemporaryFolder folder;
  Mlp trained{nn::Mlp({3, 5, 2})};
};

TEST_F(Checkpoint, ComesBackWithEveryBitOfWeightsOptimizerAndCounters) {
  Mlp fresh{nn::Mlp({3, 5, 2})};
  ASSERT_NE(fresh.bits(), trained.bits());
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

TEST_F(Checkpoint, SavingTheSameUpdateAgainReplacesIt) {
  write_file(run() / "checkpoints" / "update-00000002" / "state.json", "damaged");
  save(trained);
  Mlp fresh{nn::Mlp({3, 5, 2})};
  resume(find_checkpoint(run()), fresh);
  EXPECT_EQ(fresh.bits(), trained.bits());
}

TEST_F(Checkpoint, LeavesNoTemporaryFilesBehind) {
  save(trained);
  for (const auto& entry : fs::recursive_directory_iterator(run())) {
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
    EXPECT_EQ(entry.path().string().find(".new"), std::string::npos) << entry.path();
    EXPECT_EQ(entry.path().string().find(".old"), std::string::npos) << entry.path();
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
  EXPECT_EQ(resume_checkpoint(find_checkpoint(run()), changed, fresh.parameters, fresh.optimizer, fresh.accumulator),
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
  EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("layers.1.bias"), HasSubstr("is missing")));
}

TEST_F(Checkpoint, ATensorOfNoPartOfTheModelIsBadDataAndChangesNothing) {
  std::vector<FileTensor> tensors = parameter_tensors(trained.parameters);
  tensors.push_back({.name = "layers.2.weight", .tensor = Tensor::zeros({2, 2})});
  write_tensors(run() / "latest" / "model.safetensors", tensors);
  EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("layers.2.weight"), HasSubstr("no part of the model")));
}

TEST_F(Checkpoint, ADamagedOptimizerFileChangesNothingEither) {
  // The weights before it are fine: they must not be taken over alone.
  write_file(run() / "latest" / "optimizer.safetensors", "not tensors");
  refusal(ErrorKind::bad_data);
  fs::remove(run() / "latest" / "optimizer.safetensors");
  refusal(ErrorKind::no_input);
}

TEST_F(Checkpoint, ATensorThatIsNoFloatChangesNothing) {
  SafetensorsWriter writer;
  std::vector<std::vector<std::int32_t>> values;
  for (const Parameter& parameter : trained.parameters.parameters()) {
    values.emplace_back(static_cast<std::size_t>(parameter.shape().numel()));
    writer.add(parameter.name(), DType::i32, parameter.shape(), std::as_bytes(std::span(values.back())));
  }
  writer.write(run() / "latest" / "model.safetensors");
  EXPECT_THAT(refusal(ErrorKind::bad_data), AllOf(HasSubstr("I32"), HasSubstr("BF16")));
}

TEST_F(Checkpoint, AnOptimizerFileOfAnotherModelChangesNothing) {
  Mlp other{nn::Mlp({3, 6, 2})};
  write_tensors(run() / "latest" / "optimizer.safetensors", optimizer_tensors(other.parameters, other.optimizer));
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("m.layers.0.weight"));
}

TEST_F(Checkpoint, ADamagedStateIsBadDataAndChangesNothing) {
  const fs::path file = run() / "latest" / "state.json";
  const std::string whole = read_file(file);
  for (const std::string& damaged : {std::string("{"), std::string("[]"), std::string(),
                                     whole.substr(0, whole.size() / 2), std::string("\xff\xfe")}) {
    write_file(file, damaged);
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("state.json"));
  }
}

TEST_F(Checkpoint, AMissingOrMistypedStateValueIsNamed) {
  for (const std::string key :
       {"program", "seed", "global_batch", "optimizer", "micro", "window", "update", "skipped", "empty", "replayed",
        "loss_scaling", "loss_scale", "clean_windows", "format_version", "data_bytes", "data_hash", "steps", "rules"}) {
    change_state([&](nlohmann::json& json) { json.erase(key); });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'" + key + "'"));
    save(trained);
    change_state([&](nlohmann::json& json) { json[key] = nlohmann::json::array(); });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'" + key + "'"));
    save(trained);
  }
}

TEST_F(Checkpoint, CountersThatContradictEachOtherAreBadData) {
  for (const auto& [key, value] : std::vector<std::pair<std::string, int>>{
           {"window", 7}, {"update", 1}, {"skipped", -1}, {"micro", -5}, {"clean_windows", 9}, {"replayed", -1}}) {
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

TEST_F(Checkpoint, CountersWhoseSumOverflowsAreBadData) {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  change_state([&](nlohmann::json& json) {
    json["update"] = largest, json["skipped"] = largest, json["empty"] = 2, json["window"] = 0;
  });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("contradict"));
}

TEST_F(Checkpoint, AnotherFormatVersionIsBadData) {
  change_state([](nlohmann::json& json) { json["format_version"] = 1; });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("format version 1, but this Accrue reads version 3"));
}

TEST_F(Checkpoint, AnotherOptimizerIsAUsageError) {
  change_state([](nlohmann::json& json) { json["optimizer"] = "sgd"; });
  EXPECT_THAT(refusal(ErrorKind::usage), AllOf(HasSubstr("sgd"), HasSubstr("adamw")));
}

TEST_F(Checkpoint, CannotBeSavedInsideAWindow) {
  Mlp open{nn::Mlp({3, 5, 2}), Device::cpu(), {.accumulation = 2}};
  open.micro_batch(class_samples(4, 3, 2, 1));
  error_of(ErrorKind::internal, [&] { save(open); });
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

// Checkpoints that are made inside a window.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <tuple>

#include "tests/train/saved_checkpoint.h"
#include "train/checkpoint.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using namespace checkpoint_test;
using ::testing::AllOf;
using ::testing::HasSubstr;

// A training with K = 3 that has seen two micro-batches of its third window.
class CheckpointInsideAWindow : public Checkpoint {
 protected:
  static constexpr AccumulatorOptions three{.accumulation = 3};
  CheckpointInsideAWindow() {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) open.micro_batch(class_samples(4, 3, 2, seed));
    save(open);
  }
  Mlp open{nn::Mlp({3, 5, 2}), Device::cpu(), three};
};

TEST_F(CheckpointInsideAWindow, ComesBackWithItsSums) {
  EXPECT_TRUE(fs::exists(run() / "latest/window.safetensors"));
  Mlp fresh{nn::Mlp({3, 5, 2}), Device::cpu(), three};
  EXPECT_FALSE(resume(find_checkpoint(run()), fresh).window_starts_again);
  EXPECT_TRUE(fresh.accumulator.window_open());
  EXPECT_EQ(fresh.accumulator.samples_in_window(), 8);
  EXPECT_EQ(fresh.accumulator.counters().micro, 8);
  fresh.accumulator.continue_window(1);
  const auto there = fresh.micro_batch(class_samples(4, 3, 2, 9)), here = open.micro_batch(class_samples(4, 3, 2, 9));
  ASSERT_TRUE(there && here);
  EXPECT_EQ(there->loss, here->loss);
  EXPECT_EQ(there->grad_norm, here->grad_norm);
  EXPECT_EQ(there->targets, here->targets);
  EXPECT_EQ(there->samples, 12);
  EXPECT_EQ(there->timed_samples, 4);
  EXPECT_EQ(fresh.bits(), open.bits());
}

TEST_F(CheckpointInsideAWindow, NoFileOfAWindowIsLeftOnceItHasEnded) {
  open.micro_batch(class_samples(4, 3, 2, 9));
  save(open);
  EXPECT_FALSE(fs::exists(run() / "latest/window.safetensors"));
  EXPECT_FALSE(read_json(run() / "latest/state.json").contains("open_window"));
}

TEST_F(CheckpointInsideAWindow, StartsTheWindowAgainWhereItsRulesHaveChanged) {
  AccumulatorOptions scaled = three, dynamic = three, mean = three;
  scaled.loss_scale = 8;
  dynamic.scaling.dynamic = true;
  mean.normalisation = Normalisation::mean_over_micro_batches;
  for (const AccumulatorOptions& options : {scaled, dynamic, mean}) {
    Mlp fresh{nn::Mlp({3, 5, 2}), Device::cpu(), options};
    EXPECT_TRUE(resume(find_checkpoint(run()), fresh).window_starts_again);
    EXPECT_FALSE(fresh.accumulator.window_open());
    EXPECT_EQ(fresh.accumulator.counters().micro, 6);
    EXPECT_EQ(fresh.accumulator.counters().window, 2);
    EXPECT_EQ(fresh.bits(), open.bits());
    EXPECT_EQ(kernels::StepState(fresh.accumulator.state().step).target_count, 0);
  }
}

TEST_F(CheckpointInsideAWindow, AWindowFileThatDoesNotFitIsBadDataAndChangesNothing) {
  const fs::path file = run() / "latest/window.safetensors";
  const auto rewrite = [&](const std::function<void(SafetensorsWriter&)>& add) {
    SafetensorsWriter writer;
    add(writer);
    writer.write(file);
    seal_folder(run() / "latest");
    Mlp fresh{nn::Mlp({3, 5, 2}), Device::cpu(), three};
    return refusal_of(fresh);
  };
  const double loss = 1;
  const std::int64_t count = 2, negative = -2;
  const std::int32_t flag = 0;
  const auto add = [](SafetensorsWriter& writer, const char* name, SafetensorsDType dtype, const auto& value) {
    writer.add(name, dtype, {1}, std::as_bytes(std::span(&value, 1)));
  };
  const auto add_sums = [&](SafetensorsWriter& writer, const std::int64_t& targets) {
    add(writer, "loss_sum", SafetensorsDType::f64, loss);
    add(writer, "target_count", SafetensorsDType::i64, targets);
    add(writer, "found_inf", SafetensorsDType::i32, flag);
  };
  EXPECT_THAT(rewrite([&](auto& w) { add(w, "loss_sum", SafetensorsDType::f64, loss); }), HasSubstr("target_count"));
  EXPECT_THAT(rewrite([&](auto& w) { add_sums(w, negative); }), HasSubstr("target_count is negative"));
  EXPECT_THAT(rewrite([&](auto& w) {
                add(w, "loss_sum", SafetensorsDType::i64, count);
                add(w, "target_count", SafetensorsDType::i64, count);
                add(w, "found_inf", SafetensorsDType::i32, flag);
              }),
              AllOf(HasSubstr("loss_sum"), HasSubstr("F64")));
  EXPECT_THAT(rewrite([&](auto& w) {
                add_sums(w, count);
                w.add("gradient.layers.0.weight", Tensor::zeros({3, 4}));
              }),
              AllOf(HasSubstr("gradient.layers.0.weight"), HasSubstr("[3, 5]")));
  EXPECT_THAT(rewrite([&](auto& w) {
                add_sums(w, count);
                w.add("gradient.elsewhere", Tensor::zeros({1}));
              }),
              HasSubstr("no part of the model"));
  EXPECT_EQ(rewrite([&](auto& w) { add_sums(w, count); }), "");  // a window of which no parameter has a gradient yet
}

TEST_F(CheckpointInsideAWindow, ImpossibleNumbersOfTheWindowAreBadData) {
  for (const auto& [key, value, words] : std::vector<std::tuple<std::string, nlohmann::json, std::string>>{
           {"micro_batches", 0, "'open_window'"},
           {"micro_batches", 99, "contradict"},
           {"samples", -1, "must be in [0"},
           {"normalisation", "none", "'open_window'"},
           {"accumulate_dtype", "f64", "'open_window'"}}) {
    save(open);
    change_state([&, k = key, v = value](nlohmann::json& json) { json["open_window"][k] = v; });
    EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr(words)) << key << " " << value;
  }
  save(open);
  change_state([](nlohmann::json& json) { json["open_window"] = 3; });
  EXPECT_THAT(refusal(ErrorKind::bad_data), HasSubstr("'open_window'"));
}

}  // namespace
}  // namespace accrue::train

// What `gpt` says to input that cannot work: exit code, one line, what to do.
#include "core/cuda_devices.h"
#include "kernels/attention_kernel.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

std::string quoted(std::string_view value) { return fmt::format("'{}'", value); }

class GptBadInput : public GptTest {
 protected:
  ProcessResult try_training(const Arguments& options) const {
    return gpt(joined(training("run", options), {"--steps", "2"}));
  }
  void expect_training_refused(const Arguments& options, ErrorKind kind, const std::vector<std::string>& words) const {
    SCOPED_TRACE(shown(options));
    expect_error(try_training(options), kind, words);
    EXPECT_FALSE(std::filesystem::exists(folder_ / "run")) << "a refused command left a directory behind";
  }
  ProcessResult train_on(const std::string& text, const Arguments& options = {}) const {
    return gpt(joined(joined({"train", "--text", text, "--out", path("run"), "--steps", "2"}, tiny_model()), options));
  }
};

TEST_F(GptBadInput, TextsThatAreNoTexts) {
  expect_error(train_on(path("none")), ErrorKind::no_input, {path("none"), "No such file"});
  expect_error(train_on(folder_.path().string()), ErrorKind::no_input, {folder_.path().string(), "folder"});
  expect_error(train_on("/dev/null"), ErrorKind::no_input, {"/dev/null", "device"});
  expect_error(train_on(""), ErrorKind::usage, {"--text", "empty"});
  write_file(path("empty"), "");
  expect_error(train_on(path("empty")), ErrorKind::bad_data, {path("empty"), "empty"});
  write_file(path("short"), "12345678");  // a sample of 8 tokens needs 9 bytes
  expect_error(train_on(path("short")), ErrorKind::bad_data, {path("short"), "has 8 bytes", "context of at most 7"});
  write_file(path("one"), "1");
  expect_error(train_on(path("one")), ErrorKind::bad_data, {path("one"), "has 1 byte,"});
  write_file(path("latin"), mixed_text(100) + "\xe4");
  expect_error(train_on(path("latin"), {"--vocabulary", "128"}), ErrorKind::bad_data,
               {path("latin"), "byte 228", "offset 100", "128"});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(GptBadInput, ValidationPartsThatAreTooShort) {
  expect_training_refused(joined(tiny_model(), {"--validation-fraction", "0.02"}), ErrorKind::bad_data,
                          {"(validation part)", "has 6 bytes", "9"});
  expect_training_refused(joined(tiny_model(), {"--validation-fraction", "0.98"}), ErrorKind::bad_data,
                          {"has 7 bytes", "9"});
  expect_training_refused(joined(tiny_model(), {"--evaluate-every", "2"}), ErrorKind::usage,
                          {"--evaluate-every", "--validation-fraction"});
  // So small a share that no byte of the text is left for it.
  expect_training_refused(joined(tiny_model(), {"--validation-fraction", "0.001", "--evaluate-every", "2"}),
                          ErrorKind::bad_data, {"(validation part)", "has 0 bytes"});
}

TEST_F(GptBadInput, UnknownOptionsNameTheNearest) {
  const std::vector<std::pair<std::string, std::string>> typos = {{"--acumulation", "--accumulation"},
                                                                  {"--accumulate", "--accumulation"},
                                                                  {"--microbatch", "--micro-batch"},
                                                                  {"--learning_rate", "--learning-rate"},
                                                                  {"--globalbatch", "--global-batch"},
                                                                  {"--normalization", "--normalisation"},
                                                                  {"--layer", "--layers"},
                                                                  {"--wieght-decay", "--weight-decay"}};
  for (const auto& [typo, right] : typos) {
    expect_training_refused({typo, "4"}, ErrorKind::usage, {"unknown option " + typo, "mean " + right});
    expect_training_refused({typo + "=4"}, ErrorKind::usage, {"unknown option " + typo, "mean " + right});
  }
  // Also where a required option is missing: a misspelt one is the likeliest reason.
  expect_error(gpt({"train", "--txt", path("text"), "--steps", "2", "--out", path("run")}), ErrorKind::usage,
               {"unknown option --txt", "did you mean --text?"});
  expect_error(gpt({"sample", "--promt", "a"}), ErrorKind::usage, {"unknown option --promt", "did you mean --prompt?"});
  expect_training_refused({"surplus"}, ErrorKind::usage, {"unexpected argument 'surplus'"});
  expect_training_refused({"-x"}, ErrorKind::usage, {"unknown option -x"});
}

TEST_F(GptBadInput, MissingOptionsAreNamed) {
  expect_error(gpt({"train", "--steps", "2", "--out", path("run")}), ErrorKind::usage, {"--text"});
  expect_error(gpt({"train", "--text", path("text"), "--out", path("run")}), ErrorKind::usage, {"--steps"});
  expect_error(gpt({"train", "--text", path("text"), "--steps", "2"}), ErrorKind::usage, {"--out"});
  expect_error(gpt({"eval", "--checkpoint", path("run")}), ErrorKind::usage, {"--text"});
  expect_error(gpt({"sample", "--checkpoint", path("run")}), ErrorKind::usage, {"--prompt"});
  expect_training_refused({"--micro-batch"}, ErrorKind::usage, {"--micro-batch"});
}

TEST_F(GptBadInput, WholeNumbersOutsideTheirRange) {
  for (const char* option : {"--steps", "--layers", "--heads", "--width", "--context", "--vocabulary", "--micro-batch",
                             "--accumulation", "--global-batch", "--log-every", "--threads"}) {
    for (const char* value : {"0", "-1", "1.5", "nan", "four", "", "99999999999999999999"})
      expect_training_refused({option, value}, ErrorKind::usage, {option, "at least 1", quoted(value)});
  }
  for (const char* option : {"--evaluate-every", "--keep", "--warmup", "--decay"}) {
    for (const char* value : {"-1", "1.5", "inf", "four"})
      expect_training_refused({option, value}, ErrorKind::usage, {option, "at least 0", quoted(value)});
  }
  for (const char* value : {"-1", "1.5", "nan", "seed", "", "99999999999999999999"})
    expect_training_refused({"--seed", value}, ErrorKind::usage,
                            {"--seed", "[0, 18446744073709551615]", quoted(value)});
}

TEST_F(GptBadInput, IntervalsOfCheckpointsThatAreNone) {
  for (const char* value : {"-1", "1.5", "four", "", "min", "0min", "-5min", "5 min", "5minutes", "10 ", "1.5h",
                            "99999999999999999999", "9999999999999999h"})
    expect_training_refused({"--save-every", value}, ErrorKind::usage,
                            {"--save-every", "90s, 10min or 2h", quoted(value)});
}

TEST_F(GptBadInput, RealNumbersOutsideTheirRange) {
  for (const char* option : {"--learning-rate", "--min-learning-rate", "--clip", "--eps", "--weight-decay"}) {
    for (const char* value : {"-0.1", "nan", "inf", "-inf", "much", "", "1e999", "0.1x"})
      expect_training_refused({option, value}, ErrorKind::usage, {option, "number", quoted(value)});
  }
  for (const char* option : {"--dropout", "--validation-fraction", "--beta1", "--beta2"}) {
    for (const char* value : {"-0.1", "1", "1.5", "nan", "inf", "half"})
      expect_training_refused({option, value}, ErrorKind::usage, {option, "[0, ", quoted(value)});
  }
  expect_training_refused({"--eps", "0"}, ErrorKind::usage, {"--eps", "'0'"});
}

TEST_F(GptBadInput, NumbersTooLargeToServe) {
  for (const char* option : {"--micro-batch", "--accumulation", "--global-batch"})
    expect_training_refused({option, "2000000000000", "--micro-batch", "1"}, ErrorKind::usage, {option});
  for (const char* option : {"--layers", "--heads", "--width", "--vocabulary", "--threads"})
    expect_training_refused({option, "1000000000000000"}, ErrorKind::usage, {option});
  // Nothing is wrong with the numbers, but no machine has the memory.
  expect_training_refused({"--layers", "1", "--width", "1000000", "--heads", "1", "--context", "8"}, ErrorKind::memory,
                          {"memory", "TiB", "before the first micro-batch", "smaller model"});
  expect_error(gpt({"verify", "--layers", "1", "--width", "1000000", "--heads", "1", "--context", "8"}),
               ErrorKind::memory, {"TiB", "smaller --splits or a smaller model"});
}

TEST_F(GptBadInput, OptionsOfTheOtherCommands) {
  train("run", {"--steps", "1"});
  const Arguments eval = {"eval", "--checkpoint", path("run"), "--text", path("text")};
  const Arguments sample = {"sample", "--checkpoint", path("run"), "--prompt", "a"};
  for (const char* value : {"0", "-1", "nan", "x"})
    expect_error(gpt(joined(eval, {"--micro-batch", value})), ErrorKind::usage, {"--micro-batch", value});
  for (const char* value : {"-1", "1.5", "nan", "x"}) {
    expect_error(gpt(joined(sample, {"--tokens", value})), ErrorKind::usage, {"--tokens", value});
    expect_error(gpt(joined(sample, {"--top-k", value})), ErrorKind::usage, {"--top-k", value});
    expect_error(gpt(joined(sample, {"--seed", value})), ErrorKind::usage, {"--seed", value});
  }
  for (const char* value : {"-1", "nan", "inf", "hot"})
    expect_error(gpt(joined(sample, {"--temperature", value})), ErrorKind::usage, {"--temperature", value});
  expect_error(gpt({"eval", "--checkpoint", path("none"), "--text", path("text")}), ErrorKind::no_input,
               {path("none"), "no checkpoint"});
  expect_error(gpt({"sample", "--checkpoint", path("text"), "--prompt", "a"}), ErrorKind::no_input,
               {path("text"), "no checkpoint"});
  expect_error(gpt({"eval", "--checkpoint", path("run"), "--text", path("none")}), ErrorKind::no_input, {path("none")});
}

TEST_F(GptBadInput, ContradictoryBatchesNameWhatWouldWork) {
  expect_training_refused({"--micro-batch", "2", "--accumulation", "3", "--global-batch", "5"}, ErrorKind::usage,
                          {"--micro-batch 2 x --accumulation 3", "= 6", "--global-batch 5", "use --global-batch 6"});
  expect_training_refused(
      {"--micro-batch", "5", "--global-batch", "12"}, ErrorKind::usage,
      {"--global-batch 12", "--micro-batch 5", "--micro-batch 4 or 6", "--global-batch 10 or 15", "--ragged"});
  expect_training_refused({"--micro-batch", "16", "--global-batch", "12"}, ErrorKind::usage,
                          {"--micro-batch 16", "--micro-batch 12", "--global-batch 16"});
  expect_training_refused({"--accumulation", "5", "--global-batch", "12"}, ErrorKind::usage,
                          {"--accumulation 5", "--accumulation 4 or 6", "--global-batch 10 or 15"});
  expect_training_refused({"--partial-window", "drop", "--global-batch", "48", "--context", "8"}, ErrorKind::usage,
                          {"40 samples", "at most 40"});
}

TEST_F(GptBadInput, ContradictoryModels) {
  expect_training_refused({"--width", "30", "--heads", "4"}, ErrorKind::usage,
                          {"--width 30", "--heads 4", "28 and 32"});
  expect_training_refused({"--width", "2", "--heads", "4"}, ErrorKind::usage,
                          {"--width 2", "--heads 4", "the smallest width is 4"});
  expect_training_refused({"--vocabulary", "26"}, ErrorKind::bad_data, {path("text"), "vocabulary of 26"});
}

TEST_F(GptBadInput, Schedules) {
  expect_training_refused({"--schedule", "cosin"}, ErrorKind::usage, {"--schedule", "cosin", "did you mean cosine?"});
  expect_training_refused({"--schedule", ""}, ErrorKind::usage, {"--schedule", "constant, linear, cosine, wsd"});
  expect_training_refused({"--schedule", "cosine", "--warmup", "3"}, ErrorKind::usage,
                          {"warm-up", "run of 2 updates", "is 3"});
  expect_training_refused({"--schedule", "wsd", "--warmup", "1", "--decay", "2"}, ErrorKind::usage, {"decay", "is 2"});
  expect_training_refused({"--schedule", "linear", "--learning-rate", "0.001", "--min-learning-rate", "0.01"},
                          ErrorKind::usage, {"0.01", "0.001"});
}

TEST_F(GptBadInput, ScheduleOptionsWithoutEffect) {
  for (const char* schedule : {"constant", "linear", "cosine"})
    expect_training_refused({"--schedule", schedule, "--decay", "1"}, ErrorKind::usage,
                            {"--decay", fmt::format("--schedule {}", schedule), "--schedule wsd"});
  expect_training_refused({"--min-learning-rate", "0.0001"}, ErrorKind::usage,
                          {"--min-learning-rate", "--schedule constant"});
}

TEST_F(GptBadInput, WordsThatAreNoChoice) {
  expect_training_refused({"--data-order", "random"}, ErrorKind::usage,
                          {"--data-order", "shuffled, sequential", "'random'"});
  expect_training_refused({"--data-order", "sequental"}, ErrorKind::usage, {"did you mean sequential?"});
  expect_training_refused({"--normalisation", "target"}, ErrorKind::usage,
                          {"--normalisation", "did you mean targets?"});
  expect_training_refused({"--partial-window", "dorp"}, ErrorKind::usage, {"--partial-window", "did you mean drop?"});
  expect_training_refused({"--device", "cuda:99"}, ErrorKind::no_device, {"--device cuda:99"});
  if (!cuda::usable(0))
    expect_training_refused({"--device", "cuda"}, ErrorKind::no_device, {"--device cuda", "--device cpu"});
  expect_training_refused({"--device", "cuda:one"}, ErrorKind::usage, {"--device cuda:one", "as in cuda:0"});
  expect_training_refused({"--device", "gpu"}, ErrorKind::usage, {"--device gpu", "auto, cpu or cuda"});
  expect_training_refused({"--device", ""}, ErrorKind::usage, {"--device", "auto, cpu or cuda"});
  expect_training_refused({"--attention", "flash"}, ErrorKind::usage, {"--attention", "auto, cudnn, native"});
  if (!kernels::why_no_cudnn().empty())
    expect_training_refused({"--attention", "cudnn"}, ErrorKind::no_device, {"--attention cudnn", "auto or native"});
  expect_training_refused({"--epilogues", "gelu"}, ErrorKind::usage, {"--epilogues", "bias, all"});
  expect_training_refused({"--device", "cpu", "--epilogues", "all"}, ErrorKind::usage,
                          {"--epilogues all", "--device cuda"});
  expect_training_refused({"--precision", "fp61"}, ErrorKind::usage, {"--precision", "fp32, tf32, bf16, fp16"});
  for (const char* precision : {"tf32", "fp16"})
    expect_training_refused({"--device", "cpu", "--precision", precision}, ErrorKind::usage,
                            {"--precision", precision, "fp32 or bf16", "--device cuda"});
}

TEST_F(GptBadInput, LossScaling) {
  for (const char* scale : {"3", "0", "-2", "0.5", "1e30", "33554432", "inf", "nan", "dynamite", "2x", ""})
    expect_training_refused({"--loss-scale", scale}, ErrorKind::usage, {"--loss-scale", "dynamic, or a power of two"});
  expect_training_refused({"--growth-interval", "5"}, ErrorKind::usage, {"--growth-interval", "--loss-scale dynamic"});
  for (const char* interval : {"0", "-1", "1.5", "many"})
    expect_training_refused({"--loss-scale", "dynamic", "--growth-interval", interval}, ErrorKind::usage,
                            {"--growth-interval", interval});
  expect_training_refused({"--on-overflow", "replay"}, ErrorKind::usage,
                          {"--on-overflow replay", "--loss-scale dynamic"});
  expect_training_refused({"--loss-scale", "8", "--on-overflow", "replay"}, ErrorKind::usage, {"--loss-scale dynamic"});
  expect_training_refused({"--on-overflow", "retry"}, ErrorKind::usage, {"--on-overflow", "skip, replay"});
  expect_training_refused({"--accumulate-dtype", "fp16"}, ErrorKind::usage, {"--accumulate-dtype", "fp32, bf16"});
}

TEST_F(GptBadInput, DirectoriesThatCannotBeMade) {
  const Arguments rest = joined({"train", "--text", path("text"), "--steps", "2"}, tiny_model());
  expect_error(gpt(joined(rest, {"--out", path("text")})), ErrorKind::cannot_create, {path("text")});
  expect_error(gpt(joined(rest, {"--out", path("text/below")})), ErrorKind::cannot_create,
               {path("text/below"), "Not a directory"});
  expect_error(gpt(joined(rest, {"--out", ""})), ErrorKind::usage, {"--out", "empty"});
}

}  // namespace
}  // namespace accrue::testing

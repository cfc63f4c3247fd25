// What `mlp` says to input that cannot work.
#include "tests/programs/images.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

namespace fs = std::filesystem;

class MlpBadInput : public ::testing::Test {
 protected:
  MlpBadInput() { write_bars(folder_ / "data"); }

  std::string path(std::string_view name) const { return (folder_ / name).string(); }
  static ProcessResult mlp(const Arguments& arguments) { return run_program("mlp", arguments); }
  ProcessResult train(const Arguments& options) const {
    return mlp(
        joined({"train", "--data", path("data"), "--out", path("run"), "--warmup", "0", "--threads", "1"}, options));
  }
  void expect_training_refused(const Arguments& options, ErrorKind kind, const std::vector<std::string>& words) const {
    SCOPED_TRACE(shown(options));
    expect_error(train(options), kind, words);
    EXPECT_FALSE(fs::exists(folder_ / "run")) << "a refused command left a directory behind";
  }
  // Training with one file of the data set replaced.
  void expect_file_refused(const std::string& name, const std::string& content,
                           const std::vector<std::string>& words) const {
    const std::string good = read_file(folder_ / "data" / name);
    write_file(folder_ / "data" / name, content);
    expect_training_refused({}, ErrorKind::bad_data, words);
    write_file(folder_ / "data" / name, good);
  }

  TemporaryFolder folder_;
};

TEST_F(MlpBadInput, MissingData) {
  expect_error(mlp({"train", "--data", path("none"), "--out", path("run")}), ErrorKind::no_input,
               {path("none"), "train-images-idx3-ubyte"});
  expect_error(mlp({"train", "--data", path("data/t10k-images-idx3-ubyte"), "--out", path("run")}), ErrorKind::no_input,
               {"train-images-idx3-ubyte"});
  for (const char* name :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    fs::rename(folder_ / "data" / name, folder_ / "aside");
    expect_training_refused({}, ErrorKind::no_input, {name});
    fs::rename(folder_ / "aside", folder_ / "data" / name);
  }
}

TEST_F(MlpBadInput, DamagedImages) {
  const ImageFiles good = bar_images(200, 7, 1);
  const std::string name = "train-images-idx3-ubyte";
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{3}, std::size_t{4}, std::size_t{15}, std::size_t{16}, good.images.size() - 1}) {
    SCOPED_TRACE(size);
    expect_file_refused(name, good.images.substr(0, size), {name, "truncated"});
  }
  expect_file_refused(name, good.images + "x", {name, "trailing"});
  expect_file_refused(name, "not an IDX file at all", {name, "no IDX file"});
  expect_file_refused(name, std::string("\0\0\x0d", 3) + good.images.substr(3), {name, "unsigned bytes"});
  expect_file_refused(name, good.labels, {name, "axes"});
  expect_file_refused(name, idx_header({0, 7, 7}), {name, "extent 0"});
  expect_file_refused(name, idx_header({0xffffffff, 0xffffffff, 0xffffffff}) + "x", {name});
}

TEST_F(MlpBadInput, DamagedCompression) {
  const std::string name = "train-images-idx3-ubyte";
  const std::string good = gzipped(bar_images(200, 7, 1).images);
  expect_file_refused(name, good.substr(0, good.size() / 2), {name});
  expect_file_refused(name, good.substr(0, good.size() - 4), {name});
  expect_file_refused(name, good + "tail", {name});
  std::string flipped = good;
  flipped[good.size() / 2] = static_cast<char>(flipped[good.size() / 2] ^ 0x55);
  expect_file_refused(name, flipped, {name});
}

TEST_F(MlpBadInput, PartsThatDoNotFitTogether) {
  const ImageFiles few = bar_images(190, 7, 1), wide = bar_images(50, 8, 1);
  expect_file_refused("train-labels-idx1-ubyte", few.labels, {"200 images", "190 labels"});
  expect_file_refused("t10k-images-idx3-ubyte", wide.images, {"64", "49"});
  ImageFiles foreign = bar_images(200, 7, 1);
  foreign.labels[8 + 13] = 10;
  expect_file_refused("train-labels-idx1-ubyte", foreign.labels, {"label 10 of image 13"});
  expect_file_refused("t10k-labels-idx1-ubyte", idx_header({50}) + std::string(50, '\xff'),
                      {"t10k-labels", "label 255 of image 0"});
}

TEST_F(MlpBadInput, Numbers) {
  for (const char* option :
       {"--epochs", "--micro-batch", "--accumulation", "--global-batch", "--log-every", "--threads"}) {
    for (const char* value : {"0", "-1", "1.5", "nan", "four"})
      expect_training_refused({option, value}, ErrorKind::usage, {option, "at least 1", value});
  }
  for (const char* option : {"--learning-rate", "--clip", "--weight-decay", "--eps", "--dropout", "--beta1"}) {
    for (const char* value : {"-1", "nan", "inf", "x"})
      expect_training_refused({option, value}, ErrorKind::usage, {option, "number", value});
  }
  for (const char* value : {"0", "-3", "1.5", "nan", "x", "", "16,0", "16;8", "2000000"})
    expect_training_refused({"--hidden", value}, ErrorKind::usage, {"--hidden"});
  expect_training_refused({"--epochs", "9223372036854775807"}, ErrorKind::usage, {"--epochs"});
}

TEST_F(MlpBadInput, OptionsAndWords) {
  expect_training_refused({"--epoch", "3"}, ErrorKind::usage, {"unknown option --epoch", "did you mean --epochs?"});
  expect_training_refused({"--acumulation", "3"}, ErrorKind::usage, {"did you mean --accumulation?"});
  expect_training_refused({"--schedule", "liner"}, ErrorKind::usage, {"did you mean linear?"});
  expect_training_refused({"--device", "cuda:99"}, ErrorKind::no_device, {"--device cuda:99"});
  expect_training_refused({"--device", "cpu", "--precision", "fp16"}, ErrorKind::usage, {"--precision fp16"});
  expect_training_refused({"--micro-batch", "50", "--global-batch", "120"}, ErrorKind::usage,
                          {"--micro-batch 40 or 60", "--global-batch 100 or 150"});
  expect_training_refused({"--partial-window", "drop", "--micro-batch", "256"}, ErrorKind::usage,
                          {"200 samples", "at most 200"});
  expect_error(mlp({"train", "--out", path("run")}), ErrorKind::usage, {"--data"});
  expect_error(
      mlp({"train", "--data", path("data"), "--out", path("data/t10k-images-idx3-ubyte/run"), "--warmup", "0"}),
      ErrorKind::cannot_create, {"Not a directory"});
}

TEST_F(MlpBadInput, RunsThatCannotBeResumed) {
  expect_error(train({"--resume"}), ErrorKind::no_input, {"no checkpoint"});
  EXPECT_FALSE(fs::exists(folder_ / "run"));
  expect_success(train({"--epochs", "1", "--hidden", "16"}));
  const auto before = snapshot(folder_ / "run");
  expect_error(train({"--epochs", "2", "--hidden", "16"}), ErrorKind::usage, {"already holds a run", "--resume"});
  expect_error(train({"--epochs", "2", "--hidden", "16", "--resume", "--seed", "1"}), ErrorKind::usage, {"--seed 0"});
  expect_error(train({"--epochs", "2", "--hidden", "16", "--resume", "--micro-batch", "64"}), ErrorKind::usage,
               {"global batch of"});
  expect_error(train({"--epochs", "2", "--hidden", "8", "--resume"}), ErrorKind::bad_data,
               {"[49, 16, 10]", "[49, 8, 10]", "--hidden"});
  EXPECT_TRUE(snapshot(folder_ / "run") == before);
}

TEST_F(MlpBadInput, CheckpointsThatDoNotFitTheData) {
  expect_success(train({"--epochs", "1", "--hidden", "16"}));
  expect_error(mlp({"eval", "--checkpoint", path("none"), "--data", path("data")}), ErrorKind::no_input,
               {"no checkpoint"});
  write_part(folder_ / "wide", "t10k", bar_images(50, 8, 1));
  expect_error(mlp({"eval", "--checkpoint", path("run"), "--data", path("wide")}), ErrorKind::bad_data,
               {"64 pixels", "49"});
  expect_error(mlp({"eval", "--checkpoint", path("run"), "--data", path("none")}), ErrorKind::no_input,
               {"t10k-images-idx3-ubyte"});

  const nlohmann::json config = nlohmann::json::parse(read_file(folder_ / "run/latest/config.json"));
  for (const auto& [key, value] : std::vector<std::pair<const char*, nlohmann::json>>{{"model_type", "gpt2"},
                                                                                      {"widths", {49}},
                                                                                      {"widths", {49, -1, 10}},
                                                                                      {"widths", {49, 16, 12}},
                                                                                      {"widths", "x"},
                                                                                      {"dropout", 1.0},
                                                                                      {"pixel_deviation", 0},
                                                                                      {"pixel_mean", nullptr}}) {
    nlohmann::json changed = config;
    changed[key] = value;
    SCOPED_TRACE(changed.dump());
    write_file(folder_ / "run/latest/config.json", changed.dump());
    expect_error(mlp({"eval", "--checkpoint", path("run"), "--data", path("data")}), ErrorKind::bad_data,
                 {"config.json"});
  }
}

}  // namespace
}  // namespace accrue::testing

// GPT-2 weights as files: out of one run, into another, with Hugging Face's names.
#include <cstring>
#include <nlohmann/json.hpp>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

// A safetensors file taken apart: a little-endian length, a JSON header, the data that its offsets point into.
struct TensorFile {
  nlohmann::json header;
  std::string data;
};

TensorFile parse_tensors(const std::string& file) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  return {.header = nlohmann::json::parse(file.substr(8, length)), .data = file.substr(8 + length)};
}

std::string to_file(const TensorFile& tensors) {
  const std::string header = tensors.header.dump();
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + header + tensors.data;
}

void add_zeros(TensorFile& file, const std::string& name, const std::vector<std::int64_t>& shape) {
  std::size_t bytes = sizeof(float);
  for (const std::int64_t extent : shape) bytes *= static_cast<std::size_t>(extent);
  const std::size_t begin = file.data.size();
  file.data.append(bytes, '\0');
  file.header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, begin + bytes}}};
}

void add_copy(TensorFile& file, const std::string& name, const std::string& source) {
  const nlohmann::json entry = file.header[source];
  const std::size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1], at = file.data.size();
  file.data += file.data.substr(begin, end - begin);
  file.header[name] = entry;
  file.header[name]["data_offsets"] = {at, at + end - begin};
}

// The names as in a file that transformers' GPT2LMHeadModel saved, the constants of its older versions included.
std::string with_prefix(const std::string& file) {
  const TensorFile plain = parse_tensors(file);
  TensorFile prefixed{.header = nlohmann::json::object(), .data = plain.data};
  for (const auto& [name, entry] : plain.header.items())
    prefixed.header[name == "__metadata__" ? name : "transformer." + name] = entry;
  add_zeros(prefixed, "transformer.h.0.attn.bias", {1, 1, 8, 8});
  add_zeros(prefixed, "transformer.h.0.attn.masked_bias", {1});
  add_copy(prefixed, "lm_head.weight", "transformer.wte.weight");
  return to_file(prefixed);
}

class GptWeights : public GptTest {
 protected:
  GptWeights() {
    train("source", {"--steps", "5", "--learning-rate", "0.01"});
    write_file(path("prefixed"), with_prefix(weights("source")));
  }
  std::string evaluation(const Arguments& source) const {
    const ProcessResult result = gpt(joined({"eval", "--text", path("text"), "--json"}, source));
    expect_success(result);
    return result.out;
  }
  ProcessResult start_from(const std::string& file, const Arguments& options) const {
    return gpt(training("run", joined({"--weights", file, "--steps", "1"}, options)));
  }
};

TEST_F(GptWeights, StartARun) {
  for (const std::string& file : {path("source/model.safetensors"), path("prefixed")}) {
    SCOPED_TRACE(file);
    expect_success(start_from(file, {"--heads", "2", "--learning-rate", "0"}));
    EXPECT_EQ(weights("run"), weights("source"));  // an update of size 0
    std::filesystem::remove_all(folder_ / "run");
  }
}

TEST_F(GptWeights, EvaluateAsTheCheckpointDoes) {
  const std::string expected = evaluation({"--checkpoint", path("source")});
  EXPECT_EQ(evaluation({"--checkpoint", path("source/latest")}), expected);
  EXPECT_EQ(evaluation({"--weights", path("source/model.safetensors"), "--heads", "2"}), expected);
  EXPECT_EQ(evaluation({"--weights", path("prefixed"), "--heads", "2"}), expected);
  EXPECT_NE(evaluation({"--weights", path("prefixed"), "--heads", "4"}), expected);
}

TEST_F(GptWeights, TrainOnAShorterContextThanTheirs) {
  expect_success(start_from(path("prefixed"), {"--heads", "2", "--context", "4", "--micro-batch", "2"}));
  EXPECT_EQ(metrics("run").at(0)["targets"], 2 * 4);
  expect_error(start_from(path("prefixed"), {"--heads", "2", "--context", "9"}), ErrorKind::usage,
               {"--context 9", "8 positions"});
}

TEST_F(GptWeights, ARunOnAShorterContextSaysWhatAResumeOfItNeeds) {
  const Arguments options = {"--heads", "2", "--context", "4"};
  expect_success(start_from(path("prefixed"), options));
  const Arguments resume = training("run", {"--resume", "--steps", "2"});
  expect_error(gpt(resume), ErrorKind::usage, {"samples of 80", "has 40", "--context", "--validation-fraction"});
  expect_success(gpt(joined(resume, {"--context", "4"})));
}

TEST_F(GptWeights, WithAHeadOfTheirOwnAreRefused) {
  TensorFile untied = parse_tensors(weights("source")), other_shape = untied;
  add_zeros(untied, "lm_head.weight", {256, 16});
  add_zeros(other_shape, "lm_head.weight", {16, 256});
  for (const TensorFile& file : {untied, other_shape}) {
    write_file(path("untied"), to_file(file));
    expect_error(start_from(path("untied"), {"--heads", "2"}), ErrorKind::bad_data,
                 {path("untied"), "lm_head.weight", "untied heads are not supported"});
  }
}

TEST_F(GptWeights, InTheRunsOwnDirectoryAreNotReplaced) {
  for (const char* name : {"model.safetensors", "config.json"}) {
    std::filesystem::create_directory(folder_ / "pre");
    write_file(folder_ / "pre" / name, weights("source"));
    const auto before = snapshot(folder_ / "pre");
    expect_error(gpt(training("pre", {"--weights", path("source/model.safetensors"), "--heads", "2", "--steps", "1"})),
                 ErrorKind::cannot_create, {path("pre"), name, "another --out"});
    EXPECT_EQ(snapshot(folder_ / "pre"), before);
    std::filesystem::remove_all(folder_ / "pre");
  }
}

TEST_F(GptWeights, NeedTheNumberOfHeads) {
  expect_error(start_from(path("prefixed"), {}), ErrorKind::usage, {"--weights", "--heads"});
  expect_error(gpt({"eval", "--text", path("text"), "--weights", path("prefixed")}), ErrorKind::usage,
               {"--weights", "--heads"});
  expect_error(gpt({"eval", "--text", path("text"), "--heads", "2"}), ErrorKind::usage, {"--heads", "--weights"});
  expect_error(start_from(path("prefixed"), {"--heads", "3"}), ErrorKind::usage, {"--width 16", "--heads 3"});
}

TEST_F(GptWeights, ContradictOptionsOfAnotherModel) {
  for (const Arguments& other :
       {Arguments{"--layers", "2"}, Arguments{"--width", "32"}, Arguments{"--vocabulary", "100"}})
    expect_error(start_from(path("prefixed"), joined({"--heads", "2"}, other)), ErrorKind::usage,
                 {fmt::format("{} {}", other[0], other[1]), "contradicts"});
}

TEST_F(GptWeights, AreOneSourceAndNotTwo) {
  expect_error(gpt({"eval", "--text", path("text"), "--weights", path("prefixed"), "--heads", "2", "--checkpoint",
                    path("source")}),
               ErrorKind::usage, {"--weights", "--checkpoint"});
  expect_error(gpt({"eval", "--text", path("text")}), ErrorKind::usage, {"--checkpoint", "--weights"});
}

// So that the command that began with weights goes on with --resume added, as the message of a stopped run says.
TEST_F(GptWeights, GiveWayToTheRunThatIsResumed) {
  const Arguments from_source = {"--weights", path("prefixed"), "--heads", "2"};
  expect_success(gpt(training("tuned", joined(from_source, {"--steps", "2"}))));
  std::filesystem::remove(path("prefixed"));
  expect_success(gpt(training("tuned", joined(from_source, {"--steps", "4", "--resume"}))));
  expect_success(
      gpt(training("straight", {"--weights", path("source/model.safetensors"), "--heads", "2", "--steps", "4"})));
  EXPECT_EQ(weights("tuned"), weights("straight"));
}

TEST_F(GptWeights, ThatAreNoneAreRefused) {
  const std::string good = weights("source");
  TensorFile extra = parse_tensors(good), few = parse_tensors(good), bent = parse_tensors(good),
             gone = parse_tensors(good);
  add_zeros(extra, "score.weight", {2, 2});
  for (const char* name : {"h.0.ln_1.weight", "h.0.mlp.c_fc.bias"}) few.header.erase(name);
  bent.header["wte.weight"]["shape"] = {256 * 16};
  bent.header["h.0.ln_1.weight"]["data_offsets"] = {0, 1 << 30};
  gone.header = nlohmann::json::object();
  gone.data.clear();
  const std::vector<std::string> contents = {
      "", "hello", mixed_text(5000), good.substr(0, 1000), good + "tail", to_file(few), to_file(bent), to_file(gone)};
  for (std::size_t i = 0; i < contents.size(); ++i) {
    SCOPED_TRACE(i);
    write_file(path("bad"), contents[i]);
    expect_error(start_from(path("bad"), {"--heads", "2"}), ErrorKind::bad_data, {path("bad")});
    EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
  }
  write_file(path("bad"), to_file(extra));
  expect_error(start_from(path("bad"), {"--heads", "2"}), ErrorKind::bad_data,
               {"score.weight", "no part of the model"});
  expect_error(start_from(path("missing"), {"--heads", "2"}), ErrorKind::no_input, {path("missing")});
  expect_error(start_from(folder_.path().string(), {"--heads", "2"}), ErrorKind::no_input, {"folder"});
}

}  // namespace
}  // namespace accrue::testing

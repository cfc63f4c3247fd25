// What the tests of the programs share: argument lists, expected outcomes, metrics, and a tiny GPT training run.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/testing/process.h"
#include "tests/train/files.h"

namespace accrue::testing {

inline Arguments joined(Arguments first, const Arguments& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

inline std::string shown(const Arguments& arguments) { return fmt::format("'{}'", fmt::join(arguments, "' '")); }

inline std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

inline void expect_success(const ProcessResult& result) {
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
}

// The contract of every error: its exit code, and one line on standard error that says what it is about.
inline void expect_error(const ProcessResult& result, ErrorKind kind, const std::vector<std::string>& words) {
  EXPECT_EQ(result.exit_code, static_cast<int>(kind)) << result.err;
  EXPECT_EQ(lines_of(result.err).size(), 1u) << result.err;
  EXPECT_THAT(result.err, ::testing::Not(::testing::HasSubstr("internal error")));
  for (const std::string& word : words) EXPECT_THAT(result.err, ::testing::HasSubstr(word));
}

inline std::vector<nlohmann::json> read_json_lines(const std::filesystem::path& path) {
  std::vector<nlohmann::json> objects;
  for (const std::string& line : lines_of(read_file(path))) objects.push_back(nlohmann::json::parse(line));
  return objects;
}

// Every file below a folder with its content (links with where they point), to show that nothing changed.
inline std::map<std::string, std::string> snapshot(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).string();
    if (entry.is_symlink())
      files[name] = "-> " + std::filesystem::read_symlink(entry.path()).string();
    else
      files[name] = entry.is_regular_file() ? read_file(entry.path()) : "directory";
  }
  return files;
}

// Text that a model of any size learns at once: each letter has one successor. 25 letters, so that samples of 8 tokens
// begin with every one of them, and a model meets each letter at each position.
inline std::string alphabet_text(std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text.push_back(static_cast<char>('a' + i % 25));
  return text;
}

// Text without a pattern, so that different samples have different losses.
inline std::string mixed_text(std::size_t bytes, std::uint32_t seed = 1) {
  std::string text;
  for (std::uint32_t x = seed; text.size() < bytes;) {
    x = x * 1664525u + 1013904223u;  // Numerical Recipes' generator
    text.push_back(static_cast<char>('a' + (x >> 24) % 26));
  }
  return text;
}

// A folder with a text, and `gpt` runs in it that take a fraction of a second. One thread: these models are too small
// to share.
class GptTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t context = 8;
  static constexpr std::int64_t samples = 40;  // of the text

  GptTest() { write_file(path("text"), mixed_text(samples * context + 1)); }

  std::string path(std::string_view name) const { return (folder_ / name).string(); }

  static ProcessResult gpt(const Arguments& arguments) { return run_program("gpt", arguments); }

  static Arguments tiny_model() { return {"--layers", "1", "--heads", "2", "--width", "16", "--context", "8"}; }

  // `gpt train` on the text into the directory `run`, with options of the test's.
  Arguments training(std::string_view run, const Arguments& options) const {
    return joined({"train", "--text", path("text"), "--out", path(run), "--threads", "1"}, options);
  }
  // The same with a new tiny model; it must succeed.
  void train(std::string_view run, const Arguments& options) const {
    const Arguments arguments = joined(training(run, options), tiny_model());
    SCOPED_TRACE(shown(arguments));
    expect_success(gpt(arguments));
  }

  std::vector<nlohmann::json> metrics(std::string_view run) const {
    return read_json_lines(folder_ / run / "metrics.jsonl");
  }
  std::vector<double> losses(std::string_view run) const {
    std::vector<double> values;
    for (const nlohmann::json& object : metrics(run)) values.push_back(object.at("loss").get<double>());
    return values;
  }
  std::string weights(std::string_view run) const { return read_file(folder_ / run / "model.safetensors"); }

  TemporaryFolder folder_;
};

// |a - b| <= tolerance * |b|, element by element.
inline void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    EXPECT_NEAR(actual[i], expected[i], tolerance * std::abs(expected[i])) << "element " << i;
}

// Two runs over the same samples, split differently, differ by rounding alone. Each logit of these models is the end of
// sums of at most 64 terms in f32, unit roundoff 6e-8, through a handful of layers; their error, up to some 64 * 6e-8 =
// 4e-6, is what may differ. The weights' differences after a few updates are of the same relative size.
inline constexpr double rounding = 1e-5;

}  // namespace accrue::testing

// Too little memory: what the programs say is what helps, to the sample.
#include <nlohmann/json.hpp>
#include <regex>

#include "core/cuda_devices.h"
#include "core/format_bytes.h"
#include "tests/programs/images.h"
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

// The options that an error of exit code 71 names, "--micro-batch 4 --accumulation 6"; none if it names none.
Arguments advised_options(const ProcessResult& result) {
  static const std::regex advice("; ((--[a-z-]+( [0-9]+)? )+)fits and gives the same update");
  std::smatch match;
  if (!std::regex_search(result.err, match, advice)) return {};
  Arguments options;
  std::istringstream words(match[1]);
  for (std::string word; words >> word;) options.push_back(word);
  return options;
}

// The number behind an option.
std::int64_t value_of(const Arguments& options, const std::string& option) {
  const auto found = std::ranges::find(options, option);
  return found == options.end() || found + 1 == options.end() ? 0 : std::stoll(*(found + 1));
}

class Memory : public GptTest {
 protected:
  static constexpr std::int64_t global = 24;

  // A run of two windows; a validation before its end, too.
  Arguments run(const std::string& name, const Arguments& options) const {
    return joined(joined(training(name, options), tiny_model()),
                  {"--steps", "2", "--evaluate-every", "1", "--validation-fraction", "0.3"});
  }
  std::size_t peak_of(const std::string& name) const {
    return metrics(name).back().at("peak_bytes").get<std::size_t>();
  }
  // Limits between what the smallest and what the largest micro-batch needs; runs that had no limit.
  std::vector<std::size_t> limits(const Arguments& machine = {}) const {
    expect_success(gpt(run("least", joined({"--micro-batch", "1", "--accumulation", "24"}, machine))));
    expect_success(gpt(run("most", joined({"--micro-batch", "24"}, machine))));
    const std::size_t least = peak_of("least"), most = peak_of("most");
    EXPECT_GT(most, 2 * least);
    std::vector<std::size_t> between;
    for (const std::size_t eighths : {1, 3, 5}) between.push_back(least + (most - least) * eighths / 8);
    return between;
  }
  // The run fails with that limit; with the options it names it succeeds, and not with any larger micro-batch.
  void expect_exact_advice(const std::string& name, const std::vector<std::int64_t>& choices, const Arguments& options,
                           const Arguments& limited) const {
    SCOPED_TRACE(shown(limited));
    const auto try_out = [&](const std::string& out, const Arguments& batch) {
      return gpt(run(name + out, joined(batch, limited)));
    };
    const ProcessResult refused = try_out("-refused", options);
    expect_error(refused, ErrorKind::memory, {"out of memory on", "needed", "in use: "});
    const Arguments advised = advised_options(refused);
    ASSERT_FALSE(advised.empty()) << refused.err;
    expect_success(try_out("-advised", advised));
    expect_close(losses(name + "-advised"), losses("most"), rounding);
    const std::int64_t micro = value_of(advised, "--micro-batch");
    const auto larger = std::ranges::upper_bound(choices, micro);
    ASSERT_NE(larger, choices.end()) << refused.err;
    expect_error(try_out("-larger", {"--micro-batch", std::to_string(*larger), "--global-batch", "24", "--ragged"}),
                 ErrorKind::memory, {"out of memory"});
  }
};

TEST_F(Memory, TheMicroBatchThatIsNamedFitsAndNoLargerOne) {
  const std::vector<std::size_t> between = limits();
  for (const std::size_t limit : between)
    expect_exact_advice(fmt::format("even-{}", limit), {1, 2, 3, 4, 6, 8, 12, 24}, {"--micro-batch", "24"},
                        {"--memory-limit", std::to_string(limit)});
  std::vector<std::int64_t> all(global);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i) + 1;
  expect_exact_advice("ragged", all, {"--micro-batch", "20", "--global-batch", "24", "--ragged"},
                      {"--memory-limit", std::to_string(between.front())});
}

TEST_F(Memory, WhereNotOneSampleFitsTheMessageSaysWhatElseHelps) {
  expect_success(gpt(run("run", {"--micro-batch", "1"})));
  const std::string limit = std::to_string(peak_of("run") - 1000);
  expect_error(gpt(run("limited", {"--micro-batch", "1", "--memory-limit", limit})), ErrorKind::memory,
               {"memory limit of", "not even --micro-batch 1 fits", "smaller model", "--recompute"});
  expect_error(
      gpt(run("without", {"--micro-batch", "4", "--memory-limit", limit, "--recompute", "--accumulate-dtype", "bf16"})),
      ErrorKind::memory, {"fits"});
}

TEST_F(Memory, BeforeTheFirstMicroBatchOnlyASmallerModelHelps) {
  const ProcessResult result = gpt(run("run", {"--micro-batch", "1", "--memory-limit", "32KiB"}));
  expect_error(result, ErrorKind::memory,
               {"out of memory on cpu", "memory limit of 32.0 KiB", "in use: ", "of parameters", "smaller model"});
  EXPECT_THAT(result.err, ::testing::Not(HasSubstr("--micro-batch")));
}

TEST_F(Memory, TheLimitHoldsForEveryCommand) {
  train("run", {"--steps", "1"});
  const Arguments limit = {"--memory-limit", "8KiB", "--threads", "1"};
  const std::vector<std::string> words = {"memory limit of 8.0 KiB", "need"};
  expect_error(gpt(joined({"eval", "--checkpoint", path("run"), "--text", path("text")}, limit)), ErrorKind::memory,
               words);
  expect_error(gpt(joined({"sample", "--checkpoint", path("run"), "--prompt", "a"}, limit)), ErrorKind::memory, words);
  expect_error(gpt(joined({"verify", "--splits", "1x2,2x1"}, limit)), ErrorKind::memory, words);
  expect_error(gpt(joined({"audit", "--accumulations", "1,2"}, limit)), ErrorKind::memory, words);
  // One that is wide enough changes nothing.
  train("limited", {"--steps", "1", "--memory-limit", "1GiB"});
  EXPECT_EQ(weights("limited"), weights("run"));
}

TEST_F(Memory, LimitsThatAreNoSizes) {
  for (const char* size : {"", "0", "-1", "1.5GiB", "2 GiB", "2gib", "much", "1e9", "20000000TiB"})
    expect_error(gpt(run("run", {"--memory-limit", size})), ErrorKind::usage,
                 {"--memory-limit", "512MiB", "powers of 1000", fmt::format("'{}'", size)});
  EXPECT_FALSE(std::filesystem::exists(folder_ / "run"));
}

TEST_F(Memory, BatchesThatNoMachineHolds) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "AddressSanitizer ends a program that asks for so much";
#endif
  std::ifstream promises("/proc/sys/vm/overcommit_memory");
  if (int mode = 0; promises >> mode && mode == 1) GTEST_SKIP() << "this system promises memory that it has not";
  // 8 TiB of samples' numbers, before the first of them reaches the model.
  const ProcessResult refused = gpt(joined(
      training("run", {"--micro-batch", "1099511627776", "--data-order", "sequential", "--memory-limit", "1MiB"}),
      joined(tiny_model(), {"--steps", "1"})));
  expect_error(refused, ErrorKind::memory, {"out of host memory"});
  const Arguments advised = advised_options(refused);
  EXPECT_GT(value_of(advised, "--micro-batch"), 0) << refused.err;
  EXPECT_EQ(value_of(advised, "--micro-batch") * value_of(advised, "--accumulation"), std::int64_t{1} << 40);
}

TEST_F(Memory, OfAnEmulatedDeviceIsSearchedInTheSameWay) {
  if (!cuda::usable(0) || !cuda::emulated()) GTEST_SKIP() << "there is no emulated device in this build";
  const Arguments on_cuda = {"--device", "cuda"};
  const std::vector<std::size_t> between = limits(on_cuda);
  expect_exact_advice("cuda", {1, 2, 3, 4, 6, 8, 12, 24}, {"--micro-batch", "24"},
                      joined(on_cuda, {"--memory-limit", std::to_string(between[1])}));
}

TEST(MlpMemory, TheMicroBatchThatIsNamedFits) {
  const TemporaryFolder folder;
  write_bars(folder / "data");
  const auto train = [&](const std::string& out, const Arguments& options) {
    return run_program("mlp", joined({"train", "--data", (folder / "data").string(), "--out", (folder / out).string(),
                                      "--hidden", "16", "--epochs", "1", "--threads", "1"},
                                     options));
  };
  expect_success(train("run", {"--micro-batch", "100"}));
  const auto peak = read_json_lines(folder / "run/metrics.jsonl").back().at("peak_bytes").get<std::size_t>();
  const std::string limit = std::to_string(peak * 3 / 4);
  const ProcessResult refused = train("refused", {"--micro-batch", "100", "--memory-limit", limit});
  expect_error(refused, ErrorKind::memory, {"out of memory on cpu", "memory limit"});
  const Arguments advised = advised_options(refused);
  ASSERT_FALSE(advised.empty()) << refused.err;
  EXPECT_EQ(value_of(advised, "--micro-batch") * value_of(advised, "--accumulation"), 100);
  // To its end: the test images are as many as there have been at a time, too.
  expect_success(train("advised", joined(advised, {"--memory-limit", limit})));
}

}  // namespace
}  // namespace accrue::testing

// Signals and failing output: how a run ends that cannot go on.
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class GptStop : public GptTest {
 protected:
  // A shell's script with a program of this build and its arguments as "$@".
  static ProcessResult with_shell(const std::string& script, const std::string& program, const Arguments& arguments) {
    return run_process("/bin/sh", joined({"-c", script, "sh", ACCRUE_PROGRAMS "/" + program}, arguments),
                       {"OMP_WAIT_POLICY=PASSIVE"});
  }
};

TEST_F(GptStop, SigtermSavesACheckpointFromWhichTheSameCommandGoesOn) {
  const std::string steps = "4000";
  const Arguments options = {"--steps", steps, "--micro-batch", "2", "--learning-rate", "0.001"};
  const Arguments arguments = joined(training("run", options), tiny_model());
  const std::string log = path("run/metrics.jsonl");
  const ProcessResult stopped = with_shell(fmt::format("\"$@\" & while ! [ -s '{}' ]; do sleep 0.01; done; kill $!; "
                                                       "wait $!",
                                                       log),
                                           "gpt", arguments);
  expect_error(stopped, ErrorKind::stopped, {"stopped at update", "of " + steps, "--resume goes on"});
  EXPECT_THAT(stopped.err, ::testing::Not(::testing::HasSubstr("error")));
  const nlohmann::json state = nlohmann::json::parse(read_file(folder_ / "run/latest/state.json"));
  EXPECT_EQ(state["update"], metrics("run").back()["update"]);
  ASSERT_LT(state["update"].get<std::int64_t>(), 4000) << "the run was over before the signal came";

  expect_success(gpt(joined(arguments, {"--resume"})));
  train("whole", options);
  EXPECT_EQ(weights("run"), weights("whole"));
  EXPECT_EQ(losses("run"), losses("whole"));
}

// A window of thousands of micro-batches is left in its middle, and goes on there.
TEST_F(GptStop, SigtermSavesInTheMiddleOfAWindow) {
  write_file(path("text"), mixed_text(3000 * context + 1));
  const Arguments options = {"--steps", "2", "--micro-batch", "1", "--accumulation", "3000", "--dropout", "0.1"};
  const Arguments arguments = joined(joined(training("run", options), tiny_model()), {"--resume", "auto"});
  const auto inside_a_window = [&] {
    const std::filesystem::path state = folder_ / "run/latest/state.json";
    return std::filesystem::exists(state) && nlohmann::json::parse(read_file(state)).contains("open_window");
  };
  // How long a process takes to its first window, and a window, is the machine's affair: later and later, until it fits.
  double delay = 0.05;
  for (; !inside_a_window() && delay < 30; delay *= 1.1) {
    std::filesystem::remove_all(folder_ / "run");
    const ProcessResult stopped =
        with_shell(fmt::format("\"$@\" & sleep {:.3f}; kill $!; wait $!", delay), "gpt", arguments);
    if (inside_a_window())
      expect_error(stopped, ErrorKind::stopped, {"stopped at update", "of window", "which is saved"});
  }
  ASSERT_TRUE(inside_a_window()) << "no signal found the process inside a window";
  const ProcessResult resumed = gpt(arguments);
  expect_success(resumed);
  EXPECT_THAT(resumed.out, ::testing::HasSubstr("of window"));
  train("whole", options);
  EXPECT_EQ(weights("run"), weights("whole"));
  EXPECT_EQ(losses("run"), losses("whole"));
}

TEST_F(GptStop, ALogThatWasMovedAwayDoesNotCostTheCheckpoint) {
  const Arguments arguments = joined(training("run", {"--steps", "4000", "--micro-batch", "2"}), tiny_model());
  const ProcessResult stopped = with_shell(fmt::format("\"$@\" & while ! [ -s '{0}' ]; do sleep 0.01; done; "
                                                       "mv '{0}' '{0}.1'; kill $!; wait $!",
                                                       path("run/metrics.jsonl")),
                                           "gpt", arguments);
  expect_error(stopped, ErrorKind::stopped, {"stopped at update"});
  expect_success(gpt({"eval", "--checkpoint", path("run"), "--text", path("text")}));
}

TEST_F(GptStop, AMessageThatCannotBeWrittenDoesNotCostTheExitCode) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  EXPECT_EQ(with_shell("exec \"$@\" 2> /dev/full", "gpt", {"tarin"}).exit_code, 2);
  EXPECT_EQ(with_shell("exec \"$@\" 2> /dev/full", "gpt", {"plot", path("none")}).exit_code, 66);
}

TEST_F(GptStop, OutputThatCannotBeWrittenIsAnIoError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  train("run", {"--steps", "1"});
  const std::vector<Arguments> commands = {{"--help"},
                                           {"eval", "--checkpoint", path("run"), "--text", path("text")},
                                           {"sample", "--checkpoint", path("run"), "--prompt", "a", "--tokens", "2"},
                                           {"plot", path("run/metrics.jsonl")},
                                           joined(training("more", {"--steps", "1"}), tiny_model())};
  for (const Arguments& arguments : commands) {
    SCOPED_TRACE(shown(arguments));
    expect_error(with_shell("exec \"$@\" > /dev/full", "gpt", arguments), ErrorKind::io, {"error"});
  }
}

}  // namespace
}  // namespace accrue::testing

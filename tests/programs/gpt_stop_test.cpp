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
  // For a script: waits until the job $! has logged a window of this run, or is gone.
  std::string until_it_logs(std::string_view run) const {
    return fmt::format("while kill -0 $! && ! [ -s '{}/metrics.jsonl' ]; do sleep 0.01; done", path(run));
  }
};

TEST_F(GptStop, SigtermSavesACheckpointFromWhichTheSameCommandGoesOn) {
  const std::string steps = "4000";
  const Arguments options = {"--steps", steps, "--micro-batch", "2", "--learning-rate", "0.001"};
  const Arguments arguments = joined(training("run", options), tiny_model());
  const ProcessResult stopped =
      with_shell(fmt::format("\"$@\" & {}; kill $!; wait $!", until_it_logs("run")), "gpt", arguments);
  expect_error(stopped, ErrorKind::stopped, {"stopped by SIG", " at update", "of " + steps, "--resume goes on"});
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
  // How long a process takes to its first window, and a window, is the machine's affair: later and later, until it
  // fits.
  double delay = 0.05;
  for (; !inside_a_window() && delay < 30; delay *= 1.1) {
    std::filesystem::remove_all(folder_ / "run");
    const ProcessResult stopped =
        with_shell(fmt::format("\"$@\" & sleep {:.3f}; kill $!; wait $!", delay), "gpt", arguments);
    if (inside_a_window())
      expect_error(stopped, ErrorKind::stopped, {"stopped by SIGTERM at update", "of window", "which is saved"});
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
  const ProcessResult stopped = with_shell(
      fmt::format("\"$@\" & {1}; mv '{0}' '{0}.1'; kill $!; wait $!", path("run/metrics.jsonl"), until_it_logs("run")),
      "gpt", arguments);
  expect_error(stopped, ErrorKind::stopped, {"stopped by SIGTERM at update"});
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
                                           {"train", "--help"},
                                           {"eval", "--checkpoint", path("run"), "--text", path("text")},
                                           {"sample", "--checkpoint", path("run"), "--prompt", "a", "--tokens", "2"},
                                           {"plot", path("run/metrics.jsonl")}};
  for (const Arguments& arguments : commands) {
    SCOPED_TRACE(shown(arguments));
    for (const char* script : {"exec \"$@\" > /dev/full", "exec \"$@\" >&-"})
      expect_error(with_shell(script, "gpt", arguments), ErrorKind::io, {"error"});
  }
}

// The lines of progress are not what a training is for: with standard output broken it does all of its work, so that
// its exit code must not call for another try.
TEST_F(GptStop, OutputThatCannotBeWrittenDoesNotStopTraining) {
  const Arguments options = {"--steps", "5", "--micro-batch", "4", "--learning-rate", "0.01", "--log-every", "1"};
  train("whole", options);
  const std::string fifo = path("fifo");
  const std::vector<std::pair<std::string, std::string>> scripts = {
      {"exec \"$@\" > /dev/full", "No space left on device"},
      {"exec \"$@\" >&-", "Bad file descriptor"},
      // A pipe that had a reader until its other end was open.
      {fmt::format("mkfifo '{0}'; exec 3<>'{0}' 4>'{0}' 3>&-; exec \"$@\" >&4", fifo), "Broken pipe"}};
  for (std::size_t i = 0; i < scripts.size(); ++i) {
    const auto& [script, reason] = scripts[i];
    SCOPED_TRACE(script);
    const std::string run = fmt::format("run{}", i);
    const ProcessResult result = with_shell(script, "gpt", joined(training(run, options), tiny_model()));
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_EQ(result.err, fmt::format("standard output cannot be written ({}); training goes on, metrics.jsonl has "
                                      "everything\n",
                                      reason));
    EXPECT_EQ(weights(run), weights("whole"));
    EXPECT_EQ(losses(run), losses("whole"));
  }
}

TEST_F(GptStop, WithoutStandardStreamsNoFileOfTheRunTakesTheirPlace) {
  const Arguments options = {"--steps", "5", "--micro-batch", "4", "--learning-rate", "0.01", "--log-every", "1"};
  train("whole", options);
  EXPECT_EQ(with_shell("exec \"$@\" <&- >&- 2>&-", "gpt", joined(training("run", options), tiny_model())).exit_code, 0);
  EXPECT_EQ(weights("run"), weights("whole"));
  EXPECT_EQ(losses("run"), losses("whole"));
  EXPECT_EQ(read_file(path("run/lock")), "");
  EXPECT_EQ(read_file(path("text")), mixed_text(samples * context + 1));
}

TEST_F(GptStop, AReaderThatHasSeenEnoughDoesNotStopTraining) {
  const Arguments options = {"--steps", "300", "--log-every", "1"};
  train("whole", options);
  const ProcessResult result = with_shell("{ \"$@\"; echo \"exit code $?\" >&2; } | head -n 1", "gpt",
                                          joined(training("run", options), tiny_model()));
  EXPECT_EQ(lines_of(result.out).size(), 1u);
  EXPECT_THAT(result.err, ::testing::EndsWith("exit code 0\n"));
  EXPECT_EQ(weights("run"), weights("whole"));
}

// Ctrl-S, or an ssh session whose other end sleeps: here a pipe that nobody reads until the training is over.
TEST_F(GptStop, AReaderThatStopsReadingDoesNotStopTraining) {
  const Arguments options = {"--steps", "1500", "--log-every", "1", "--micro-batch", "2"};
  train("whole", options);
  const ProcessResult result =
      with_shell(fmt::format("{{ \"$@\"; echo $? >'{0}'; }} | {{ until [ -s '{0}' ]; do sleep 0.01; done; cat; }}",
                             path("exit_code")),
                 "gpt", joined(training("run", options), tiny_model()));
  EXPECT_EQ(read_file(path("exit_code")), "0\n");
  EXPECT_THAT(result.out, ::testing::HasSubstr("update 1/1500"));
  EXPECT_THAT(result.out, ::testing::Not(::testing::HasSubstr("update 1400/1500"))) << "the pipe holds all of it";
  EXPECT_EQ(weights("run"), weights("whole"));
  EXPECT_EQ(losses("run"), losses("whole"));
}

TEST_F(GptStop, AHangUpDoesNotStopTraining) {
  const Arguments options = {"--steps", "1000", "--micro-batch", "2"};
  train("whole", options);
  const ProcessResult result = with_shell(fmt::format("\"$@\" >'{}' & {}; kill -HUP $! && wc -l <'{}'; wait $!",
                                                      path("out"), until_it_logs("run"), path("run/metrics.jsonl")),
                                          "gpt", joined(training("run", options), tiny_model()));
  expect_success(result);
  ASSERT_LT(std::stoi(result.out), 1000) << "the run was over before the signal came";
  EXPECT_EQ(weights("run"), weights("whole"));
  EXPECT_EQ(losses("run"), losses("whole"));
}

TEST_F(GptStop, ASecondInterruptEndsTrainingAtOnceAndItsLockIsTakenOver) {
  // A micro-batch takes so long that the second signal comes before the end of the first that follows on the first
  // signal; where a machine is too slow for that once, it is tried again. The shell's background jobs ignore SIGINT;
  // the shell itself catches it, and so does its child until that is gpt.
  write_file(path("long"), mixed_text(64 * 128 + 1));
  const Arguments arguments = {
      "train", "--text",  path("long"), "--out",     path("run"), "--steps",   "1000", "--layers",      "4", "--heads",
      "4",     "--width", "256",        "--context", "128",       "--threads", "1",    "--micro-batch", "64"};
  const std::string script =
      "caught() { awk '/^Name/ { name = $2 } /^SigCgt/ { print name, substr($2, length($2)) }' /proc/$1/status |\n"
      "  grep -q 'gpt [2367abefABEF]'; }\n"
      "env --default-signal=INT \"$@\" & \n"
      "until caught $! || ! kill -0 $!; do sleep 0.01; done; kill -INT $!\n"
      "while caught $!; do sleep 0.01; done; kill -INT $!\n"
      "wait $!";
  int exit_code = 0;
  for (int attempt = 0; attempt < 20 && exit_code != 130; ++attempt) {
    std::filesystem::remove_all(folder_ / "run");
    const ProcessResult result = with_shell(script, "gpt", arguments);
    exit_code = result.exit_code;
    ASSERT_TRUE(exit_code == 130 || exit_code == static_cast<int>(ErrorKind::stopped)) << exit_code << result.err;
  }
  EXPECT_EQ(exit_code, 130);
  const ProcessResult next = gpt(joined(training("run", {"--steps", "1"}), tiny_model()));
  expect_success(next);
  EXPECT_THAT(next.out, ::testing::ContainsRegex("took over the lock of process [0-9]+, which is gone"));
}

TEST_F(GptStop, ASecondProcessIsToldWhichOneTrains) {
  const Arguments arguments = joined(training("run", {"--steps", "4000", "--micro-batch", "2"}), tiny_model());
  const ProcessResult result =
      with_shell(fmt::format("\"$@\" >'{}' & {}; echo $!; \"$@\"; code=$?; kill $!; wait $!; exit $code", path("first"),
                             until_it_logs("run")),
                 "gpt", arguments);
  EXPECT_EQ(result.exit_code, static_cast<int>(ErrorKind::cannot_create)) << result.err;
  EXPECT_THAT(result.err, ::testing::HasSubstr(fmt::format("--out {}: process {} is training there (since 2",
                                                           path("run"), lines_of(result.out).at(0))));
}

TEST_F(GptStop, ALogThatTheDiskRefusesCostsNoWeights) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full on this system";
  const Arguments options = {"--steps", "5", "--micro-batch", "4", "--learning-rate", "0.01"};
  train("whole", options);
  std::filesystem::create_directory(folder_ / "run");
  std::filesystem::create_symlink("/dev/full", folder_ / "run/metrics.jsonl");
  const ProcessResult result = gpt(joined(training("run", options), tiny_model()));
  EXPECT_EQ(result.exit_code, static_cast<int>(ErrorKind::io));
  const std::vector<std::string> lines = lines_of(result.err);
  ASSERT_EQ(lines.size(), 2u) << result.err;
  EXPECT_THAT(lines[0], ::testing::AllOf(::testing::StartsWith("warning: "), ::testing::HasSubstr("No space left"),
                                         ::testing::HasSubstr("training goes on")));
  EXPECT_THAT(lines[1], ::testing::HasSubstr("5 lines are only in memory"));
  EXPECT_EQ(weights("run"), weights("whole"));
}

TEST_F(GptStop, ATextThatShrinksEndsTrainingAndLeavesNoTrace) {
  const Arguments options = {"--steps",        "2000", "--micro-batch",   "2",
                             "--accumulation", "3",    "--learning-rate", "0.001"};
  train("whole", options);
  // To nothing, which the system tells by a signal, and within its only page, which it does not tell at all.
  for (const char* bytes : {"0", "100"}) {
    SCOPED_TRACE(bytes);
    const Arguments arguments = joined(training("run", options), tiny_model());
    const ProcessResult ended =
        with_shell(fmt::format("\"$@\" & {}; truncate -s {} '{}'; wait $!", until_it_logs("run"), bytes, path("text")),
                   "gpt", arguments);
    expect_error(ended, ErrorKind::bad_data,
                 {path("text"), "was truncated or written to", "put the file back as it was"});
    const nlohmann::json state = nlohmann::json::parse(read_file(folder_ / "run/latest/state.json"));
    ASSERT_LT(state["update"].get<std::int64_t>(), 2000) << "the run was over before the text shrank";

    write_file(path("text"), mixed_text(samples * context + 1));
    expect_success(gpt(joined(arguments, {"--resume"})));
    EXPECT_EQ(weights("run"), weights("whole"));
    EXPECT_EQ(losses("run"), losses("whole"));
    std::filesystem::remove_all(folder_ / "run");
  }
}

}  // namespace
}  // namespace accrue::testing

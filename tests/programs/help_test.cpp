// What the programs say of themselves.
#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

struct Help {
  std::string program;
  Arguments arguments;
  std::vector<std::string> words;
};

TEST(Help, ListsTheOptionsOfEveryCommand) {
  const std::vector<std::string> run = {
      "--out",           "--resume",          "--seed",          "--evaluate-every",
      "--save-every",    "--profile",         "--log-every",     "--micro-batch",
      "--accumulation",  "--global-batch",    "--ragged",        "--data-order",
      "--normalisation", "--partial-window",  "--learning-rate", "--min-learning-rate",
      "--schedule",      "--warmup",          "--decay",         "--clip",
      "--beta1",         "--beta2",           "--eps",           "--weight-decay",
      "--device",        "--threads",         "--precision",     "--attention",
      "--epilogues",     "--memory-limit",    "--loss-scale",    "--growth-interval",
      "--on-overflow",   "--accumulate-dtype"};
  const std::vector<std::string> model = {"--layers",     "--heads",   "--width",    "--context",
                                          "--vocabulary", "--dropout", "--recompute"};
  const std::vector<Help> cases = {
      {"gpt", {"--help"}, {"train", "eval", "sample", "verify", "audit", "plot"}},
      {"gpt", {"-h"}, {"train", "eval", "sample", "verify", "audit", "plot"}},
      {"gpt",
       {"train", "--help"},
       joined(joined(run, model), {"--text", "--steps", "--validation-fraction", "--weights"})},
      {"gpt",
       {"eval", "--help"},
       {"--checkpoint", "--weights", "--heads", "--text", "--micro-batch", "--json", "--device", "--threads"}},
      {"gpt",
       {"sample", "--help"},
       {"--checkpoint", "--weights", "--heads", "--prompt", "--tokens", "--temperature", "--top-k", "--seed"}},
      {"gpt",
       {"verify", "--help"},
       joined(model, {"--splits", "--text", "--equal-targets", "--normalisation", "--seed", "--device", "--threads"})},
      {"gpt",
       {"audit", "--help"},
       joined(model, {"--accumulations", "--micro-batch", "--checkpoint", "--weights", "--text", "--equal-targets",
                      "--seed", "--loss-scale", "--json", "--device", "--precision", "--threads"})},
      {"gpt", {"plot", "--help"}, {"metrics"}},
      {"mlp", {"--help"}, {"train", "eval"}},
      {"mlp", {"train", "--help"}, joined(run, {"--data", "--epochs", "--hidden", "--dropout"})},
      {"mlp", {"eval", "--help"}, {"--checkpoint", "--data", "--micro-batch", "--json", "--device", "--threads"}},
  };
  for (const Help& c : cases) {
    SCOPED_TRACE(c.program + " " + shown(c.arguments));
    const ProcessResult result = run_program(c.program, c.arguments);
    expect_success(result);
    for (const std::string& word : c.words) EXPECT_THAT(result.out, ::testing::HasSubstr(word));
  }
}

TEST(Help, IsGivenEvenBesideWrongOptions) {
  expect_success(run_program("gpt", {"train", "--help", "--steps", "3"}));
  expect_success(run_program("mlp", {"train", "--epochs", "3", "-h"}));
}

TEST(Help, WithoutACommandTheProgramsNameTheCommands) {
  expect_error(run_program("gpt", {}), ErrorKind::usage,
               {"train", "eval", "sample", "verify", "audit", "plot", "--help"});
  expect_error(run_program("mlp", {}), ErrorKind::usage, {"train", "eval", "--help"});
}

TEST(Help, AnUnknownCommandNamesTheNearest) {
  expect_error(run_program("gpt", {"trian"}), ErrorKind::usage, {"'trian'", "did you mean train?"});
  expect_error(run_program("gpt", {"smaple", "--prompt", "x"}), ErrorKind::usage, {"'smaple'", "did you mean sample?"});
  expect_error(run_program("mlp", {"evaluate"}), ErrorKind::usage, {"'evaluate'", "did you mean eval?"});
  expect_error(run_program("gpt", {"train", "eval"}), ErrorKind::usage, {"'eval'"});
  expect_error(run_program("gpt", {"--hepl"}), ErrorKind::usage, {"--hepl", "did you mean --help?"});
}

}  // namespace
}  // namespace accrue::testing

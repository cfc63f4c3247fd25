// `mlp train` with its default recipe reaches what a user expects of a small MLP on Fashion-MNIST.
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

std::string data_folder() {
  const char* folder = std::getenv("ACCRUE_FASHION_MNIST");
  return folder != nullptr ? folder : "/usr/share/datasets/fashion-mnist";
}

TEST(FashionMnist, FiveEpochsOfTheDefaultRecipeReach88AndAHalfPercent) {
  const std::string data = data_folder();
  if (!std::filesystem::exists(data))
    GTEST_SKIP() << "no " << data
                 << ": install dataset-fashion-mnist, or set ACCRUE_FASHION_MNIST to a folder of its files";
  const TemporaryFolder folder;
  double sum = 0;
  for (const char* seed : {"1", "2", "3"}) {
    const std::string run = (folder / seed).string();
    expect_success(run_program("mlp", {"train", "--data", data, "--out", run, "--epochs", "5", "--seed", seed}));
    const ProcessResult eval = run_program("mlp", {"eval", "--checkpoint", run, "--data", data, "--json"});
    expect_success(eval);
    const double accuracy = nlohmann::json::parse(eval.out).at("accuracy");
    RecordProperty(std::string("accuracy_of_seed_") + seed, std::to_string(accuracy));
    sum += accuracy;
  }
  EXPECT_GE(sum / 3, 0.885);
}

}  // namespace
}  // namespace accrue::testing

// The emulator's settings in the environment.
#include <gtest/gtest.h>

#include <string>

#include "tests/testing/process.h"

namespace accrue::emulator {
namespace {

testing::ProcessResult run_with(const std::string& setting) {
  return testing::run_process(ACCRUE_PLANTED_FAULTS_PLAIN, {"missing_barrier", "correct"}, {setting});
}

TEST(EmulatorOptions, AreReadFromTheEnvironment) {
  for (const char* setting : {"ACCRUE_EMULATOR_ORDER=random", "ACCRUE_EMULATOR_SEED=18446744073709551615",
                              "ACCRUE_EMULATOR_STREAMS=lazy", "ACCRUE_EMULATOR_MEMORY=4K", "ACCRUE_EMULATOR_ORDER="}) {
    EXPECT_EQ(run_with(setting).exit_code, 0) << setting;
  }
  EXPECT_EQ(run_with("ACCRUE_EMULATOR_MEMORY=1K").out, "");  // 2 KiB are needed: the program throws
}

TEST(EmulatorOptions, ThatAreNoneEndTheProcess) {
  for (const char* setting :
       {"ACCRUE_EMULATOR_ORDER=backward", "ACCRUE_EMULATOR_SEED=one", "ACCRUE_EMULATOR_SEED=1x",
        "ACCRUE_EMULATOR_STREAMS=idle", "ACCRUE_EMULATOR_MEMORY=0", "ACCRUE_EMULATOR_MEMORY=1T",
        "ACCRUE_EMULATOR_MEMORY=9223372036854775808", "ACCRUE_EMULATOR_MEMORY=9007199254740993K"}) {
    const testing::ProcessResult process = run_with(setting);
    const std::string text = setting;
    EXPECT_EQ(process.exit_code, 2) << setting;
    EXPECT_NE(process.err.find(text.substr(0, text.find('=')) + " must be "), std::string::npos) << process.err;
    EXPECT_NE(process.err.find("but is '" + text.substr(text.find('=') + 1) + "'"), std::string::npos) << process.err;
  }
}

}  // namespace
}  // namespace accrue::emulator

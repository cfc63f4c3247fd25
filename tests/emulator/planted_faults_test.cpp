// What finds the planted faults (planted_faults.cu), and that nothing is found in their correct twins. The table is the
// one of docs/emulator.md.
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "tests/testing/process.h"

namespace accrue::emulator {
namespace {

using testing::ProcessResult;

// How a fault shows.
enum class Found { no, result, stop, deadlock, signal, error, report };

const char* word(Found found) {
  switch (found) {
    case Found::no:
      return "–";
    case Found::result:
      return "wrong";
    case Found::stop:
      return "stop";
    case Found::deadlock:
      return "deadlock";
    case Found::signal:
      return "signal";
    case Found::error:
      return "error";
    case Found::report:
      return "report";
  }
  return "?";
}

Found found_by(const ProcessResult& process) {
  const auto says = [&](const char* text) { return process.err.find(text) != std::string::npos; };
  if (says("AddressSanitizer") || says("runtime error:") || says("checker: ")) return Found::report;
  switch (process.exit_code) {
    case 0:
      return Found::no;
    case 1:
      return Found::result;
    case 3:
      return Found::error;
    case 85:
      return Found::stop;
    case 86:
      return Found::deadlock;
    case 139:
      return Found::signal;
    default:
      ADD_FAILURE() << "exit code " << process.exit_code << "\n" << process.out << process.err;
      return Found::no;
  }
}

struct Mode {
  const char* name;
  const char* program;
  std::vector<std::string> environment;
};

// Settings of the caller's own do not reach the cases.
std::vector<std::string> settings(const std::string& order, const std::string& seed, const std::string& streams) {
  return {"ACCRUE_EMULATOR_ORDER=" + order, "ACCRUE_EMULATOR_SEED=" + seed, "ACCRUE_EMULATOR_STREAMS=" + streams,
          "ACCRUE_EMULATOR_MEMORY=64M"};
}

constexpr std::size_t kModes = 6;

const std::array<Mode, kModes>& modes() {
  static const std::array<Mode, kModes> all = {{
      {"forward", ACCRUE_PLANTED_FAULTS_PLAIN, settings("forward", "1", "eager")},
      {"reverse", ACCRUE_PLANTED_FAULTS_PLAIN, settings("reverse", "1", "eager")},
      {"random", ACCRUE_PLANTED_FAULTS_PLAIN, settings("random", "1", "eager")},
      {"lazy", ACCRUE_PLANTED_FAULTS_PLAIN, settings("forward", "1", "lazy")},
      {"ASan", ACCRUE_PLANTED_FAULTS_SANITIZED, settings("forward", "1", "eager")},
      {"checker", ACCRUE_PLANTED_FAULTS_CHECKED, settings("forward", "1", "eager")},
  }};
  return all;
}

struct Fault {
  const char* name;
  std::array<Found, kModes> found;  // by mode
};

constexpr std::array<Found, kModes> always(Found found) { return {found, found, found, found, found, found}; }
constexpr std::array<Found, kModes> instrumented(Found plain, Found asan, Found checker) {
  return {plain, plain, plain, plain, asan, checker};
}

constexpr Found no = Found::no, wrong = Found::result, report = Found::report;

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all = {
      {"missing_barrier", instrumented(wrong, wrong, report)},
      {"missing_barrier_before_left_neighbour", {no, wrong, wrong, no, no, report}},
      {"missing_syncwarp", instrumented(wrong, wrong, report)},
      {"divergent_barrier", always(Found::stop)},
      {"divergent_shuffle", always(Found::deadlock)},
      {"wrong_mask", always(Found::stop)},
      {"uninitialised_static_shared", instrumented(wrong, wrong, report)},
      {"uninitialised_dynamic_shared", instrumented(wrong, wrong, report)},
      {"missing_copy_wait", instrumented(wrong, wrong, report)},
      {"lost_update", instrumented(no, no, report)},
      {"misaligned_vector", instrumented(no, report, report)},
      {"host_pointer", instrumented(no, no, report)},
      {"wild_pointer", instrumented(Found::signal, report, report)},
      {"static_shared_overflow", instrumented(no, report, report)},
      {"dynamic_shared_overflow", instrumented(no, report, report)},
      {"global_overflow", instrumented(no, report, report)},
      {"use_after_free", instrumented(wrong, report, report)},
      {"read_before_synchronising", {no, no, no, wrong, no, no}},
      {"streams_without_event", {no, no, no, wrong, no, no}},
      {"source_changed_too_early", {no, no, no, wrong, no, no}},
      {"too_much_shared_memory", always(Found::error)},
      {"too_many_threads", always(Found::error)},
  };
  return all;
}

class PlantedFault : public ::testing::TestWithParam<Fault> {};

TEST_P(PlantedFault, IsFoundInTheModesThatTheTableNames) {
  for (std::size_t i = 0; i < kModes; ++i) {
    const Mode& mode = modes()[i];
    const ProcessResult process = testing::run_process(mode.program, {GetParam().name, "faulty"}, mode.environment);
    EXPECT_STREQ(word(found_by(process)), word(GetParam().found[i])) << mode.name << "\n" << process.out << process.err;
  }
}

TEST_P(PlantedFault, IsNotFoundInTheCorrectTwin) {
  std::vector<Mode> all(modes().begin(), modes().end());
  // The checker and the lazy streams again in the other orders, where other things could seem wrong to them.
  for (const char* order : {"reverse", "random"}) {
    all.push_back({order, ACCRUE_PLANTED_FAULTS_CHECKED, settings(order, "7", "lazy")});
    all.push_back({order, ACCRUE_PLANTED_FAULTS_SANITIZED, settings(order, "7", "lazy")});
  }
  for (const Mode& mode : all) {
    const ProcessResult process = testing::run_process(mode.program, {GetParam().name, "correct"}, mode.environment);
    EXPECT_EQ(process.exit_code, 0) << mode.program << " " << mode.name << "\n" << process.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Emulator, PlantedFault, ::testing::ValuesIn(faults()),
                         [](const auto& test) { return std::string(test.param.name); });

// The greedy random order finds what the seed makes of it: none of the first ten may miss a missing barrier.
TEST(PlantedFaults, EverySeedOfTheRandomOrderFindsAMissingBarrier) {
  for (const char* name : {"missing_barrier", "missing_barrier_before_left_neighbour", "missing_syncwarp"}) {
    for (int seed = 1; seed <= 10; ++seed) {
      const ProcessResult process = testing::run_process(ACCRUE_PLANTED_FAULTS_PLAIN, {name, "faulty"},
                                                         settings("random", std::to_string(seed), "eager"));
      EXPECT_EQ(process.exit_code, 1) << name << ", seed " << seed;
    }
  }
}

TEST(PlantedFaults, AreListedInTheDocumentation) {
  std::ifstream file(ACCRUE_EMULATOR_DOCUMENT);
  const std::string document((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  ASSERT_FALSE(document.empty()) << ACCRUE_EMULATOR_DOCUMENT;
  for (const Fault& fault : faults()) {
    std::ostringstream row;
    row << "| `" << fault.name << "` |";
    for (const Found found : fault.found) row << " " << word(found) << " |";
    EXPECT_NE(document.find(row.str()), std::string::npos) << "expected the line\n" << row.str();
  }
}

TEST(PlantedFaults, AreNamedWithTheirLineByTheChecker) {
  const ProcessResult process =
      testing::run_process(ACCRUE_PLANTED_FAULTS_CHECKED, {"lost_update", "faulty"}, settings("forward", "1", "eager"));
  EXPECT_EQ(process.exit_code, 88);
  EXPECT_NE(process.err.find("checker: race: read of 4 bytes at "), std::string::npos) << process.err;
  EXPECT_NE(process.err.find("planted_faults.cu:"), std::string::npos) << process.err;
  EXPECT_NE(process.err.find("kernel planted, block (0,0,0), thread (1,0,0)"), std::string::npos) << process.err;
}

}  // namespace
}  // namespace accrue::emulator

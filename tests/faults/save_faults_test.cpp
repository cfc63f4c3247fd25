// A checkpoint is saved on a disk of which the n-th call fails, for every n: the run can be continued all the same,
// from this checkpoint or the one before it.
#include <cerrno>
#include <cstring>
#include <iostream>

#include "tests/faults/recording.h"
#include "tests/faults/saved_run.h"

namespace accrue::testing::faults {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::HasSubstr;

constexpr unsigned every_call = changing | reading;

struct Fault {
  Action action;
  int error = 0;
};

std::string name_of(const ::testing::TestParamInfo<Fault>& info) {
  const Fault& fault = info.param;
  if (fault.action == Action::shorten) return "ShortWrite";
  if (fault.action == Action::interrupt) return "Interruption";
  const std::string error = fault.error == ENOSPC ? "NoSpace" : fault.error == EIO ? "IoError" : "TooManyFiles";
  return error + (fault.action == Action::fail ? "Once" : "FromThenOn");
}

// Two states of a model, one update apart. The older one is saved, the newer one is about to be.
class SaveFaults : public ::testing::TestWithParam<Fault> {
 protected:
  SaveFaults() {
    train_on(training, 1);
    train::make_run_directory(folder / "before");
    save(folder / "before", training);
    older = training.bits();
    train_on(training, 2);
    newer = training.bits();
  }
  const fs::path& run() const { return run_; }
  // The directory as it was with the older checkpoint alone.
  void start_over() {
    fs::remove_all(run_);
    fs::copy(folder / "before", run_, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  }
  // Saves the newer state under the plan and returns the error's message, empty if there was none.
  std::string save_with_fault(long n, Tally& tally) {
    const Plan plan{
        .folder = run().string(), .calls = every_call, .action = GetParam().action, .at = n, .error = GetParam().error};
    std::string message;
    tally = with_faults(plan, [&] {
      try {
        save(run(), training, 1);
      } catch (const Error& error) {
        EXPECT_THAT(error.kind(), AnyOf(ErrorKind::io, ErrorKind::cannot_create)) << error.what();
        message = error.what();
      }
    });
    return message;
  }
  std::vector<std::string> leftovers() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(run())) {
      const std::string extension = entry.path().extension().string();
      const std::string name = entry.path().filename().string();
      if (extension == ".tmp" || extension == ".new" || name.starts_with(".")) names.push_back(entry.path().string());
    }
    return names;
  }

  TemporaryFolder folder;
  fs::path run_ = folder / "run";
  Mlp training = small_mlp();
  TrainingBits older, newer;
};

TEST_P(SaveFaults, AtEachCallLoseNothing) {
  const bool is_failure = GetParam().action == Action::fail || GetParam().action == Action::fail_from;
  long fired = 0, failed = 0;
  for (long n = 1;; ++n) {
    SCOPED_TRACE(n);
    start_over();
    const int descriptors = open_descriptors();
    Tally tally;
    const std::string message = save_with_fault(n, tally);
    if (tally.calls < n) break;
    fired += tally.fired ? 1 : 0;
    failed += message.empty() ? 0 : 1;
    EXPECT_EQ(open_descriptors(), descriptors);
    if (!message.empty()) {
      EXPECT_TRUE(is_failure) << "an interruption or a short write is none: " << message;
      EXPECT_THAT(message, HasSubstr(run().string()));
      EXPECT_THAT(message, HasSubstr(std::strerror(GetParam().error)));
    }
    const TrainingBits found = resumed_bits(run());
    EXPECT_TRUE(found == newer || (found == older && !message.empty())) << message;
    // And the next attempt, with the fault gone, leaves what a first one does.
    save(run(), training, 1);
    EXPECT_EQ(resumed_bits(run()), newer);
    EXPECT_THAT(leftovers(), ::testing::IsEmpty());
    EXPECT_EQ(train::checkpoints_of(run()).size(), 1u);
    if (HasFailure()) break;  // the first one says enough
  }
  EXPECT_GT(fired, 0);
  EXPECT_EQ(failed > 0, is_failure);
  std::cout << fired << " calls of saving met a fault, and " << failed << " of these saves failed\n";
}

INSTANTIATE_TEST_SUITE_P(EveryCall, SaveFaults,
                         ::testing::Values(Fault{Action::fail, ENOSPC}, Fault{Action::fail, EIO},
                                           Fault{Action::fail, EMFILE}, Fault{Action::fail_from, ENOSPC},
                                           Fault{Action::fail_from, EIO}, Fault{Action::interrupt},
                                           Fault{Action::shorten}),
                         name_of);

using SaveSites = SaveFaults;

TEST_P(SaveSites, AreTheSameEachTime) {
  start_over();
  const std::vector<Site> first = record(run().string(), every_call, [&] { save(run(), training, 1); });
  start_over();
  EXPECT_EQ(record(run().string(), every_call, [&] { save(run(), training, 1); }), first);
  EXPECT_GT(first.size(), 30u);
}

INSTANTIATE_TEST_SUITE_P(Counted, SaveSites, ::testing::Values(Fault{Action::none}),
                         [](const auto&) { return "WithoutFaults"; });

}  // namespace
}  // namespace accrue::testing::faults

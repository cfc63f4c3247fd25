// A run is resumed from a disk of which the n-th call fails, for every n: what is resumed is a checkpoint, bit for bit,
// or nothing.
#include <cerrno>
#include <cstring>
#include <iostream>
#include <optional>

#include "tests/faults/recording.h"
#include "tests/faults/saved_run.h"
#include "train/run_start.h"

namespace accrue::testing::faults {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr unsigned every_call_of_resume = changing | reading;

// The directory of a run with two checkpoints.
class ResumeFaults : public ::testing::Test {
 protected:
  ResumeFaults() {
    train::make_run_directory(run());
    Mlp training = small_mlp();
    train_on(training, 1);
    save(run(), training);
    older = training.bits();
    train_on(training, 2);
    save(run(), training);
    newer = training.bits();
  }
  const fs::path& run() const { return folder.path(); }

  struct Outcome {
    Tally tally;
    TrainingBits before, after;
    std::string note;
    std::optional<std::string> error;
  };
  Outcome resume_with(Action action, long n, int error = 0) const {
    Mlp fresh = small_mlp();
    Outcome outcome{.before = fresh.bits()};
    const Plan plan{.folder = run().string(), .calls = every_call_of_resume, .action = action, .at = n, .error = error};
    outcome.tally = with_faults(plan, [&] {
      try {
        outcome.note = resume(run(), fresh);
      } catch (const Error& caught) {
        outcome.error = caught.what();
      }
    });
    outcome.after = fresh.bits();
    return outcome;
  }

  TemporaryFolder folder;
  TrainingBits older, newer;
};

TEST_F(ResumeFaults, AtEachCallGiveAWholeCheckpointOrAnError) {
  const int descriptors = open_descriptors();
  for (const Action action : {Action::fail, Action::fail_from}) {
    for (const int error : {EIO, EACCES, EMFILE, ENOMEM}) {
      for (long n = 1;; ++n) {
        SCOPED_TRACE(
            fmt::format("call {}: {}{}", n, std::strerror(error), action == Action::fail ? "" : " from there on"));
        const Outcome outcome = resume_with(action, n, error);
        if (outcome.tally.calls < n) {
          EXPECT_GT(n, 10);
          std::cout << n - 1 << " calls of resuming met a fault\n";
          break;
        }
        if (outcome.error) {
          EXPECT_THAT(*outcome.error, HasSubstr(run().string()));
          EXPECT_THAT(*outcome.error, Not(HasSubstr("no checkpoint"))) << "who believes it would start over";
          EXPECT_EQ(outcome.after, outcome.before) << "half of a checkpoint was taken over";
        } else if (outcome.after != newer) {
          EXPECT_EQ(outcome.after, older);
          EXPECT_THAT(outcome.note, HasSubstr(run().string()));
        }
        EXPECT_EQ(open_descriptors(), descriptors);
        if (HasFailure()) return;
      }
    }
  }
}

// What cannot be read now must not look like a directory without a run, which --resume auto and a run without --resume
// would begin.
TEST_F(ResumeFaults, NeverHideTheRunFromWhoWouldBeginOneHere) {
  for (const Action action : {Action::fail, Action::fail_from}) {
    for (const int error : {EIO, EMFILE}) {
      for (long n = 1;; ++n) {
        SCOPED_TRACE(fmt::format("call {}: {}", n, std::strerror(error)));
        const Plan plan{
            .folder = run().string(), .calls = every_call_of_resume, .action = action, .at = n, .error = error};
        bool refused = false;
        const Tally automatic = with_faults(plan, [&] {
          try {
            EXPECT_TRUE(train::RunStart(run(), "auto").point());
          } catch (const Error& caught) {
            EXPECT_THAT(caught.what(), HasSubstr(run().string()));
          }
        });
        const Tally anew = with_faults(plan, [&] {
          try {
            train::require_new_run(run());
          } catch (const Error&) {
            refused = true;
          }
        });
        EXPECT_TRUE(refused);
        if (automatic.calls >= n || anew.calls >= n) continue;
        EXPECT_GT(n, 10);
        break;
      }
    }
  }
}

TEST_F(ResumeFaults, InterruptionsAndShortReadsAreNone) {
  for (const Action action : {Action::interrupt, Action::shorten}) {
    long calls = 1;
    for (long n = 1; n <= calls; ++n) {
      const Outcome outcome = resume_with(action, n);
      calls = outcome.tally.calls;
      EXPECT_EQ(outcome.error, std::nullopt) << "call " << n;
      EXPECT_EQ(outcome.note, "");
      EXPECT_EQ(outcome.after, newer);
    }
    EXPECT_GT(calls, 10);
  }
}

TEST_F(ResumeFaults, ResumingChangesNothingOnTheDisk) {
  EXPECT_THAT(record(run().string(), changing, [&] { resumed_bits(run()); }), ::testing::IsEmpty());
}

}  // namespace
}  // namespace accrue::testing::faults

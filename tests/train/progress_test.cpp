#include "train/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace accrue::train {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

TEST(FormatBytes, HasOneDecimalFromAKibibyteOn) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes((std::size_t{1} << 20) - 1), "1.0 MiB");  // not "1024.0 KiB"
  EXPECT_EQ(format_bytes(std::size_t{35} << 20), "35.0 MiB");
  EXPECT_EQ(format_bytes(std::size_t{5} << 40), "5.0 TiB");
  EXPECT_EQ(format_bytes(std::size_t{5000} << 40), "5000.0 TiB");  // there is no larger unit
}

TEST(FormatDuration, HasTwoUnitsAtMost) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m 00s");
  EXPECT_EQ(format_duration(185), "3m 05s");
  EXPECT_EQ(format_duration(3599.9), "1h 00m");
  EXPECT_EQ(format_duration(3720), "1h 02m");
  EXPECT_EQ(format_duration(100 * 3600), "100h 00m");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(nan), "?");
  EXPECT_EQ(format_duration(infinity), "?");
}

TEST(FormatCount, GroupsThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(-0.4), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(999.6), "1,000");
  EXPECT_EQ(format_count(21000), "21,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(infinity), "?");
  EXPECT_EQ(format_count(nan), "?");
}

const ProgressState state{.update = 40,
                          .total = 1000,
                          .loss = 2.3456,
                          .grad_norm = 0.81,
                          .rate = 21000,
                          .remaining_seconds = 185,
                          .peak_bytes = 36910000};

TEST(FormatProgress, SaysWhatTheHeaderShows) {
  EXPECT_EQ(format_progress(state),
            "update 40/1000  loss 2.3456  norm 0.81  21,000 tokens/s  3m 05s left  peak 35.2 MiB");
}

TEST(FormatProgress, ShowsTheValidationLossWhereThereIsOneAndNoTimeWhereNoneIsKnown) {
  ProgressState other = state;
  other.validation_loss = 2.5;
  other.remaining_seconds.reset();
  other.unit = "samples";
  EXPECT_EQ(format_progress(other),
            "update 40/1000  loss 2.3456  validation 2.5000  norm 0.81  21,000 samples/s  peak 35.2 MiB");
}

TEST(FormatProgress, ShowsALossThatIsNotFinite) {
  ProgressState diverged = state;
  diverged.loss = nan;
  EXPECT_THAT(format_progress(diverged), ::testing::HasSubstr("loss nan"));
}

TEST(FormatProgress, IsCutToTheWidth) {
  const std::string whole = format_progress(state);
  EXPECT_EQ(format_progress(state, 20), whole.substr(0, 20));
  EXPECT_EQ(format_progress(state, 200), whole);
}

// What Progress writes to a file, which is no terminal.
template <class Function>
std::string written(std::int64_t every, Function&& function) {
  std::FILE* file = std::tmpfile();
  Progress progress(file, every);
  function(progress);
  progress.finish();
  std::rewind(file);
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

TEST(Progress, WritesEveryNthUpdateAndTheLastToAFile) {
  const std::string text = written(4, [](Progress& progress) {
    for (std::int64_t update = 1; update <= 10; ++update) progress.show({.update = update, .total = 10});
  });
  std::string expected;
  for (const std::int64_t update : {4, 8, 10}) expected += format_progress({.update = update, .total = 10}) + "\n";
  EXPECT_EQ(text, expected);
}

TEST(Progress, AlwaysWritesAnUpdateWithAValidationLoss) {
  const std::string text = written(100, [](Progress& progress) {
    for (std::int64_t update = 1; update <= 9; ++update)
      progress.show(
          {.update = update, .total = 10, .validation_loss = update == 5 ? std::optional(1.5) : std::nullopt});
  });
  EXPECT_EQ(text, format_progress({.update = 5, .total = 10, .validation_loss = 1.5}) + "\n");
}

TEST(Progress, WritesNoControlCharactersToAFile) {
  const std::string text = written(1, [](Progress& progress) { progress.show({.update = 1, .total = 2}); });
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(Progress, AnIntervalOfZeroIsOne) {
  const std::string text = written(0, [](Progress& progress) { progress.show({.update = 1, .total = 2}); });
  EXPECT_FALSE(text.empty());
}

}  // namespace
}  // namespace accrue::train

#include "train/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <string>

namespace accrue::train {
namespace {

TEST(FormatDuration, HasTwoUnitsAtMost) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m 00s");
  EXPECT_EQ(format_duration(185), "3m 05s");
  EXPECT_EQ(format_duration(3599.9), "1h 00m");
  EXPECT_EQ(format_duration(3720), "1h 02m");
  EXPECT_EQ(format_duration(100 * 3600), "100h 00m");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(HUGE_VAL), "?");
}

TEST(FormatCount, GroupsThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(-0.4), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(999.6), "1,000");
  EXPECT_EQ(format_count(21000), "21,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(HUGE_VAL), "?");
  EXPECT_EQ(format_count(std::nan("")), "?");
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
  diverged.loss = std::nan("");
  EXPECT_THAT(format_progress(diverged), ::testing::HasSubstr("loss nan"));
}

TEST(FormatProgress, SparesWordsBeforeNumbersWhereTheWidthIsShort) {
  const std::string whole = format_progress(state);
  EXPECT_EQ(format_progress(state, 200), whole);
  EXPECT_EQ(format_progress(state, whole.size()), whole);
  EXPECT_EQ(format_progress(state, 79), "40/1000  loss 2.3456  norm 0.81  21,000 tokens/s  3m 05s left  35.2 MiB");
  EXPECT_EQ(format_progress(state, 60), "40/1000 loss 2.3456 norm 0.81 21.0k tokens/s 3m 05s 35.2 MiB");
  EXPECT_EQ(format_progress(state, 10), "40/1000 lo");
}

TEST(FormatProgress, EverythingFitsInEightyColumnsAlsoInLongRuns) {
  const ProgressState large{.update = 123456,
                            .total = 1000000,
                            .loss = 10.82345,
                            .grad_norm = 1.234e-5,
                            .rate = 1234567,
                            .remaining_seconds = 100 * 3600 + 59 * 60,
                            .peak_bytes = std::size_t{1023} << 20};
  EXPECT_EQ(format_progress(large, 79), "123456/1000000 loss 10.8234 norm 1.23e-05 1.2M tokens/s 100h 59m 1023.0 MiB");
}

// What Progress writes to a file, which is no terminal.
template <class Function>
std::string written(std::int64_t every, Function&& function) {
  std::FILE* file = std::tmpfile();
  Console console(fileno(file));
  Progress progress(console, every);
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

// A terminal of 80 columns, and what was written to it.
class Terminal {
 public:
  Terminal() : master_(posix_openpt(O_RDWR | O_NOCTTY)) {
    grantpt(master_);
    unlockpt(master_);
    slave_ = open(ptsname(master_), O_WRONLY | O_NOCTTY);
    const winsize size{.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
    ioctl(slave_, TIOCSWINSZ, &size);
  }
  ~Terminal() {
    close(slave_);
    close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  Console console() const { return Console(slave_); }
  std::string shown() {
    std::string text;
    // A terminal hands on what arrives in pieces; a tenth of a second without one is the end.
    for (pollfd ready{.fd = master_, .events = POLLIN, .revents = 0}; poll(&ready, 1, 100) > 0;) {
      std::array<char, 4096> piece;
      const ssize_t size = read(master_, piece.data(), piece.size());
      if (size <= 0) break;
      text.append(piece.data(), static_cast<std::size_t>(size));
    }
    return text;
  }

 private:
  int master_, slave_;
};

TEST(Progress, RewritesItsLineOnATerminalWithThePeakInSight) {
  Terminal terminal;
  Console console = terminal.console();
  Progress progress(console, 1);
  progress.show(state);
  progress.show(state);
  const std::string line = "\r\x1b[K" + format_progress(state, 79);
  EXPECT_EQ(terminal.shown(), line + line);
  EXPECT_THAT(line, ::testing::EndsWith("35.2 MiB"));
}

TEST(Progress, KeepsLinesWithAValidationLossWholeOnATerminal) {
  ProgressState validated = state;
  validated.validation_loss = 2.5;
  Terminal terminal;
  Console console = terminal.console();
  Progress progress(console, 1);
  progress.show(validated);
  EXPECT_EQ(terminal.shown(), "\r\x1b[K" + format_progress(validated) + "\r\n");
}

TEST(Progress, EndsAnOpenLineWithItsLife) {
  Terminal terminal;
  Console console = terminal.console();
  { Progress(console, 1).show(state); }
  EXPECT_THAT(terminal.shown(), ::testing::EndsWith("35.2 MiB\r\n"));
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

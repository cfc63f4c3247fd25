#include "train/output_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <thread>

#include "tests/train/stream_ends.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using namespace std::chrono_literals;

// What waits there, and what comes within half a second: a terminal hands on in pieces.
std::string read_what_waits(const FileDescriptor& reader) {
  std::string text;
  for (pollfd ready{.fd = reader.get(), .events = POLLIN, .revents = 0}; poll(&ready, 1, 500) > 0;) {
    std::array<char, 4096> piece;
    const ssize_t size = read(reader.get(), piece.data(), piece.size());
    if (size <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
  return text;
}

struct Kind {
  const char* name;
  Ends (*make)();
};

class OutputStreams : public ::testing::TestWithParam<Kind> {
 protected:
  Ends ends_ = GetParam().make();
};

// Without an end to the waiting, this test would not come to one either.
TEST_P(OutputStreams, AReaderThatStopsReadingIsNotWaitedForAndIsToldWhatItMissed) {
  OutputStream stream(ends_.writer.get(), 5ms);
  const std::string line(100, 'x');
  constexpr int lines = 20'000;  // 2 MB: more than any of them holds
  for (int i = 0; i < lines; ++i) ASSERT_EQ(stream.write(line + "\n"), 0);
  std::string received = read_what_waits(ends_.reader);
  ASSERT_EQ(stream.write("and on\n"), 0);
  received += read_what_waits(ends_.reader);

  // The line in which it stalled comes to its end before anything else.
  std::int64_t whole = 0;
  for (; received.starts_with(line + "\n"); ++whole) received.erase(0, line.size() + 1);
  EXPECT_GT(whole, 10);
  EXPECT_EQ(received,
            "\n[" + std::to_string(lines - whole) + " lines of this output left out while nobody read it]\nand on\n");

  ASSERT_EQ(stream.write("and on\n"), 0);
  EXPECT_EQ(read_what_waits(ends_.reader), "and on\n");
}

TEST_P(OutputStreams, AReaderThatIsOnlySlowGetsAll) {
  OutputStream stream(ends_.writer.get(), 60s);
  const std::string text(1 << 20, 'x');
  std::string received;
  std::thread reader([&] {
    std::array<char, 4096> piece;
    while (received.size() < text.size()) {
      const ssize_t size = read(ends_.reader.get(), piece.data(), piece.size());
      if (size <= 0) break;
      received.append(piece.data(), static_cast<std::size_t>(size));
    }
  });
  EXPECT_EQ(stream.write(text), 0);
  reader.join();
  EXPECT_EQ(received, text);
}

TEST_P(OutputStreams, TheStreamOfOthersStaysAsItIs) {
  const int before = fcntl(ends_.writer.get(), F_GETFL);
  OutputStream stream(ends_.writer.get());
  ASSERT_EQ(stream.write("text"), 0);
  EXPECT_EQ(fcntl(ends_.writer.get(), F_GETFL), before);
}

INSTANTIATE_TEST_SUITE_P(Everywhere, OutputStreams,
                         ::testing::Values(Kind{"Pipe", pipe_ends}, Kind{"Socket", socket_ends},
                                           Kind{"Terminal", terminal_ends}),
                         [](const auto& each) { return each.param.name; });

}  // namespace
}  // namespace accrue::train

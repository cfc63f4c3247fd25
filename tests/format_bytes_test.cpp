#include "core/format_bytes.h"

#include <gtest/gtest.h>

namespace accrue::format_bytes_test {
namespace {

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

TEST(ParseBytes, TakesBytesAndPowersOfAThousandAnd1024) {
  EXPECT_EQ(parse_bytes("1"), 1u);
  EXPECT_EQ(parse_bytes("1500000000"), 1500000000u);
  for (const char* kilo : {"7K", "7KB"}) EXPECT_EQ(parse_bytes(kilo), 7000u);
  EXPECT_EQ(parse_bytes("7KiB"), 7168u);
  EXPECT_EQ(parse_bytes("512MiB"), std::size_t{512} << 20);
  EXPECT_EQ(parse_bytes("512MB"), 512'000'000u);
  EXPECT_EQ(parse_bytes("2GiB"), std::size_t{2} << 30);
  EXPECT_EQ(parse_bytes("2G"), 2'000'000'000u);
  EXPECT_EQ(parse_bytes("3TiB"), std::size_t{3} << 40);
  EXPECT_EQ(parse_bytes("3TB"), 3'000'000'000'000u);
  EXPECT_EQ(parse_bytes("9223372036854775807"), 9223372036854775807u);
}

TEST(ParseBytes, TakesNothingElse) {
  for (const char* text : {"",
                           "0",
                           "0GiB",
                           "-1",
                           "+1",
                           " 1",
                           "1 ",
                           "1 GiB",
                           "1.5GiB",
                           "1e9",
                           "0x10",
                           "GiB",
                           "1gib",
                           "1k",
                           "1B",
                           "1Ki",
                           "1GiBs",
                           "1GB/s",
                           "1PiB",
                           "inf",
                           "9223372036854775808",
                           "9007199254740992KiB",
                           "8388608TiB",
                           "9223373TB"})
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
}

}  // namespace
}  // namespace accrue::format_bytes_test

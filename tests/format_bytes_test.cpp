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

}  // namespace
}  // namespace accrue::format_bytes_test

#include "train/tokenizer.h"

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using ::testing::HasSubstr;

TEST(ByteTokenizer, EveryByteIsItsOwnToken) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  const std::vector<std::int32_t> ids = ByteTokenizer().encode(all);
  ASSERT_EQ(ids.size(), 256u);
  for (std::int32_t byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[static_cast<std::size_t>(byte)], byte);
  EXPECT_EQ(ByteTokenizer().decode(ids), all);
}

TEST(ByteTokenizer, EmptyTextIsNoTokens) {
  EXPECT_TRUE(ByteTokenizer().encode("").empty());
  EXPECT_EQ(ByteTokenizer().decode({}), "");
}

TEST(ByteTokenizer, DecodeNamesTheIdThatIsNoByteAndItsPosition) {
  for (const std::int32_t bad : {256, -1, 50256}) {
    const std::vector<std::int32_t> ids = {72, 105, bad};
    const std::string message = error_of(ErrorKind::bad_data, [&] { ByteTokenizer().decode(ids); });
    EXPECT_THAT(message, HasSubstr(fmt::format("token {} at position 2", bad)));
    EXPECT_THAT(message, HasSubstr("0 to 255"));
  }
}

}  // namespace
}  // namespace accrue::train

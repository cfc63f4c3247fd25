#include "train/token_data.h"

#include <limits>
#include <string>
#include <vector>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using accrue::testing::TemporaryFolder;
using accrue::testing::write_file;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// 0, 1, 2, … so that a token's value is its offset.
std::vector<std::uint8_t> counting(std::size_t size) {
  std::vector<std::uint8_t> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  return bytes;
}

class TokenFileTest : public ::testing::Test {
 protected:
  TokenFile file_with(std::string_view content) {
    write_file(folder_ / "text.txt", content);
    return TokenFile(folder_ / "text.txt");
  }
  TemporaryFolder folder_;
};

TEST_F(TokenFileTest, TokensAreTheBytes) {
  const TokenFile file = file_with("h\xc3\xa9");
  EXPECT_THAT(file.tokens(), ElementsAre('h', 0xc3, 0xa9));
}

TEST_F(TokenFileTest, AnEmptyTextIsBadData) {
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { file_with(""); }), AllOf(HasSubstr("text.txt"), HasSubstr("empty")));
}

TEST_F(TokenFileTest, SplitCutsTheTailOffAndLosesNothing) {
  const TokenFile file = file_with("0123456789");
  for (const auto& [fraction, validation] :
       std::vector<std::pair<double, std::size_t>>{{0.0, 0}, {0.05, 0}, {0.1, 1}, {0.25, 2}, {0.5, 5}, {0.9, 9}}) {
    const TokenFile::Split split = file.split(fraction);
    EXPECT_EQ(split.validation.size(), validation) << fraction;
    EXPECT_EQ(split.train.size() + split.validation.size(), 10u);
    EXPECT_EQ(split.train.data(), file.tokens().data());
    EXPECT_EQ(split.train.data() + split.train.size(), split.validation.data());
  }
}

TEST_F(TokenFileTest, SplitLeavesSomethingToTrainOnAtAFractionJustBelowOne) {
  const TokenFile::Split split = file_with("0123456789").split(std::nextafter(1.0, 0.0));
  EXPECT_EQ(split.train.size(), 1u);
  EXPECT_EQ(split.validation.size(), 9u);
}

TEST_F(TokenFileTest, SplitRefusesAFractionOutsideZeroToOne) {
  const TokenFile file = file_with("0123456789");
  for (const double fraction : {-0.1, 1.0, 7.0, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { file.split(fraction); }), HasSubstr("at least 0 and below 1"));
}

TEST_F(TokenFileTest, RequireVocabularyNamesTheFirstByteOutsideAndItsOffset) {
  const TokenFile file = file_with("AB\x7fZ\x80");
  file.require_vocabulary(256);
  file.require_vocabulary(129);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { file.require_vocabulary(128); }),
              AllOf(HasSubstr("byte 128 (0x80) at offset 4"), HasSubstr("vocabulary of 128")));
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { file.require_vocabulary(67); }),
              HasSubstr("byte 127 (0x7f) at offset 2"));
}

TEST(TokenSamples, TargetsAreTheNextTokens) {
  const std::vector<std::uint8_t> bytes = counting(10);
  const TokenSamples samples(bytes, 3, "text");
  ASSERT_EQ(samples.size(), 3);
  std::vector<std::int32_t> tokens(3), targets(3);
  samples.copy(0, tokens, targets);
  EXPECT_THAT(tokens, ElementsAre(0, 1, 2));
  EXPECT_THAT(targets, ElementsAre(1, 2, 3));
  samples.copy(2, tokens, targets);
  EXPECT_THAT(tokens, ElementsAre(6, 7, 8));
  EXPECT_THAT(targets, ElementsAre(7, 8, 9));
}

TEST(TokenSamples, SizeIsAllThatFitsAndTheLastSampleStaysInside) {
  for (std::size_t size = 2; size <= 40; ++size) {
    const std::vector<std::uint8_t> bytes = counting(size);  // exact allocation: ASan sees one token too many
    for (std::int64_t context = 1; context < static_cast<std::int64_t>(size); ++context) {
      const TokenSamples samples(bytes, context, "text");
      EXPECT_EQ(samples.size(), (static_cast<std::int64_t>(size) - 1) / context);
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(context)), targets(tokens.size());
      samples.copy(samples.size() - 1, tokens, targets);
      EXPECT_EQ(targets.back(), samples.size() * context);
    }
  }
}

TEST(TokenSamples, ATextShorterThanContextPlusOneSaysBothNumbersAndWhatToDo) {
  const std::vector<std::uint8_t> bytes = counting(8);
  EXPECT_EQ(TokenSamples(bytes, 7, "text").size(), 1);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { TokenSamples(bytes, 8, "text (validation part)"); }),
              AllOf(HasSubstr("text (validation part): has 8 bytes"), HasSubstr("context 8 needs 9"),
                    HasSubstr("a context of at most 7 or a longer text")));
}

TEST(TokenSamples, ATextOfOneByteIsToldOnlyToGrow) {
  const std::vector<std::uint8_t> bytes = counting(1);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { TokenSamples(bytes, 1, "text"); }),
              AllOf(HasSubstr("has 1 byte,"), HasSubstr("use a longer text"), Not(HasSubstr("at most"))));
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { TokenSamples({}, 1, "text"); }), HasSubstr("has 0 bytes"));
}

TEST(TokenSamples, AContextBelowOneIsAUsageError) {
  const std::vector<std::uint8_t> bytes = counting(8);
  for (const std::int64_t context : {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::min()})
    EXPECT_THAT(error_of(ErrorKind::usage, [&] { TokenSamples(bytes, context, "text"); }), HasSubstr("--context"));
}

TEST(TokenSamples, TheLargestContextDoesNotOverflow) {
  const std::vector<std::uint8_t> bytes = counting(8);
  EXPECT_THAT(
      error_of(ErrorKind::bad_data, [&] { TokenSamples(bytes, std::numeric_limits<std::int64_t>::max(), "text"); }),
      HasSubstr("needs 9223372036854775808"));
}

TEST(TokenSamples, CopyChecksItsArguments) {
  const std::vector<std::uint8_t> bytes = counting(10);
  const TokenSamples samples(bytes, 3, "text");
  std::vector<std::int32_t> three(3), two(2), other(3);
  error_of(ErrorKind::internal, [&] { samples.copy(3, three, other); });
  error_of(ErrorKind::internal, [&] { samples.copy(-1, three, other); });
  error_of(ErrorKind::internal, [&] { samples.copy(0, two, other); });
  error_of(ErrorKind::internal, [&] { samples.copy(0, other, two); });
}

}  // namespace
}  // namespace accrue::train

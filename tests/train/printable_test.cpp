#include "train/printable.h"

#include <gtest/gtest.h>

namespace accrue::train {
namespace {

TEST(Printable, IsShortAndAscii) {
  EXPECT_EQ(printable("wte.weight"), "wte.weight");
  EXPECT_EQ(printable("\x1b[2J\n\xc3\xa9"), "\\x1b[2J\\x0a\\xc3\\xa9");
  EXPECT_EQ(printable(std::string(100, 'x')), std::string(60, 'x') + "…");
}

TEST(SteersATerminal, ByEitherSetOfControlCharacters) {
  EXPECT_FALSE(steers_a_terminal(""));
  EXPECT_FALSE(steers_a_terminal("Größe → 3"));
  EXPECT_FALSE(steers_a_terminal("\xc3\x9b"));  // Û, whose second byte alone would be one
  for (const char* text : {"a\nb", "\x1b[2J", "\x7f",
                           "a\xc2\x9b"
                           "2J",
                           "\xc2\x80"})
    EXPECT_TRUE(steers_a_terminal(text));
}

TEST(TerminalText, EscapesWhatSteersAlsoAcrossPieces) {
  TerminalText text;
  EXPECT_EQ(text.harmless("In the\n\tbeginning \x1b]0;owned\x07"), "In the\n\tbeginning \\x1b]0;owned\\x07");
  EXPECT_EQ(text.harmless("\xc2"), "\xc2");
  EXPECT_EQ(text.harmless("\x9b"
                          "2J"),
            "\\x9b2J");
  EXPECT_EQ(text.harmless("\xc3"), "\xc3");
  EXPECT_EQ(text.harmless("\x9b"), "\x9b");
}

}  // namespace
}  // namespace accrue::train

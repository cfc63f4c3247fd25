// Text of a hostile file for an error message.
#pragma once

#include <string>
#include <string_view>

namespace accrue::train {

// The text shortened to 60 bytes, with escapes for all but printable ASCII: nothing that would steer a terminal.
std::string printable(std::string_view text);

// Whether UTF-8 text has control characters: those of ASCII, line feeds included, or the second set (C1), of which one
// begins the same sequences as ESC [.
bool steers_a_terminal(std::string_view text);

// A text that comes in pieces, such as what a model writes: control characters but line feed and tab as escapes (\x1b),
// everything else as it is.
class TerminalText {
 public:
  std::string harmless(std::string_view piece);

 private:
  unsigned char previous_ = 0;
};

}  // namespace accrue::train

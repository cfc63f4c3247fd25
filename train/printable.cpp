#include "train/printable.h"

#include <fmt/format.h>

namespace accrue::train {

namespace {

// Those of ASCII, and of UTF-8's two bytes for U+0080 to U+009F the second.
bool is_control(unsigned char previous, unsigned char byte) {
  return byte < 0x20 || byte == 0x7f || (previous == 0xc2 && byte >= 0x80 && byte < 0xa0);
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr std::size_t longest = 60;
  std::string out;
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte >= 0x7f ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  if (text.size() > longest) out += "…";
  return out;
}

bool steers_a_terminal(std::string_view text) {
  unsigned char previous = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_control(previous, byte)) return true;
    previous = byte;
  }
  return false;
}

std::string TerminalText::harmless(std::string_view piece) {
  std::string out;
  for (const char c : piece) {
    const auto byte = static_cast<unsigned char>(c);
    out += is_control(previous_, byte) && c != '\n' && c != '\t' ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
    previous_ = byte;
  }
  return out;
}

}  // namespace accrue::train

#include "train/printable.h"

#include <fmt/format.h>

namespace accrue::train {

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

}  // namespace accrue::train

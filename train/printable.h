// Text of a hostile file for an error message.
#pragma once

#include <string>
#include <string_view>

namespace accrue::train {

// The text shortened to 60 bytes, with escapes for all but printable ASCII: nothing that would steer a terminal.
std::string printable(std::string_view text);

}  // namespace accrue::train

// Numbers of bytes as people read them.
#pragma once

#include <cstddef>
#include <string>

namespace accrue {

std::string format_bytes(std::size_t bytes);  // "512 B", "35.2 MiB"

}  // namespace accrue

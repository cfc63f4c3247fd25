// What the checker has found, on standard error.
#pragma once

#include <string>

namespace accrue::emulator::checker {

// The line of the kernel that an instruction belongs to: wrappers in the emulator's own headers are passed over.
// Without addr2line or debug information it is an address in the program.
std::string source_line(const void* return_address);

// One finding for each kind and line; after ten of them the process ends. A process with findings ends with exit code
// 88 even if it succeeds otherwise.
void report(const std::string& what, const std::string& line, const std::string& details);

}  // namespace accrue::emulator::checker

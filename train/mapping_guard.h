// Mappings of files that may shrink, or whose disk may fail, while they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace accrue::train {

// A page of a mapped file that the system cannot provide any more, because the file was truncated or its disk has
// failed, ends the process by SIGBUS where somebody touches it. In a guarded mapping it reads as zeros instead, to the
// mapping's end, and the mapping counts as damaged from then on. Any other SIGBUS goes where it went before.
//
// The handler of the signal is installed with the first mapping. It takes no lock and allocates nothing; any thread may
// touch any mapping meanwhile.

inline constexpr int most_guarded_mappings = 64;

// Guards a mapping of the file `fd` from its first byte on; `name` stands for it in errors. The descriptor stays the
// caller's and must stay open. Returns the place to release it with, or -1 if all are taken: then it must not be used.
int guard_mapping(std::span<const std::uint8_t> mapping, int fd, std::string name);
// To be called before it is unmapped.
void release_mapping(int place) noexcept;

// That all bytes of a mapping have this checksum64() (checksum.h): a file that somebody touches or appends to while it
// is mapped stays intact then, once that is verified. Without, every change is damage.
void remember_content(std::span<const std::uint8_t> mapping, std::uint64_t checksum);

// To be called after reading bytes and before anything is done with what was read. Throws Error(bad_data) naming the
// file if they belong to a guarded mapping that is damaged, or whose file has become shorter (the rest of its last page
// reads as zeros without a signal) or was written to. Costs a system call for bytes of a guarded mapping and next to
// nothing for others.
void require_intact(std::span<const std::uint8_t> bytes);
void require_intact(std::span<const std::byte> bytes);

}  // namespace accrue::train

// Files that the tests read.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace accrue::testing {

// Of tests/fixtures in the source tree, or of the folder ACCRUE_TEST_FIXTURES on a machine that has no source tree
// where the tests were built.
inline std::filesystem::path fixture(std::string_view name) {
  const char* const elsewhere = std::getenv("ACCRUE_TEST_FIXTURES");
  return std::filesystem::path(elsewhere != nullptr ? elsewhere : ACCRUE_FIXTURES) / name;
}

}  // namespace accrue::testing

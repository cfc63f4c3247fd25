// What a report must say of the machine and the program for its figures to mean something.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace accrue::bench {

// Names and values, for the report's context. No name of the host: reports are published.
std::vector<std::pair<std::string, std::string>> machine_facts();

}  // namespace accrue::bench

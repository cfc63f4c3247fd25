// What the tests of faults share: carrying out a plan around a function, and a record of the calls.
#pragma once

#include <dirent.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/faults/io_faults.h"

namespace accrue::testing::faults {

struct Site {
  std::string call, path;
  friend bool operator==(const Site&, const Site&) = default;
};

inline std::vector<Site>* sites_of_recording = nullptr;

// Runs the function under a plan. Whatever it throws, the calls after it are none of the plan's.
template <class Function>
Tally with_faults(const Plan& plan, Function&& function, Observer observer = nullptr) {
  arm(plan, observer);
  try {
    function();
  } catch (...) {
    disarm();
    throw;
  }
  return disarm();
}

// The calls that the function makes for files in the folder, with paths from there.
template <class Function>
std::vector<Site> record(const std::string& folder, unsigned calls, Function&& function) {
  std::vector<Site> sites;
  sites.reserve(10000);  // so that the record itself changes nothing while it is made
  sites_of_recording = &sites;
  with_faults({.folder = folder, .calls = calls}, function, [](long, const char* call, const char* path) {
    sites_of_recording->push_back({call, path});
  });
  for (Site& site : sites)
    if (site.path.starts_with(folder)) site.path.erase(0, folder.size() + 1);
  return sites;
}

inline std::vector<std::string> names_of(const std::vector<Site>& sites) {
  std::vector<std::string> names;
  for (const Site& site : sites) names.push_back(site.call);
  return names;
}

// How many descriptors this process has open.
inline int open_descriptors() {
  int count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  if (folder == nullptr) return -1;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

}  // namespace accrue::testing::faults

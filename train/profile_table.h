// A window's profile for people.
#pragma once

#include <string>

#include "train/window_profile.h"

namespace accrue::train {

// A heading that says which window it is, and a line an operation: calls, time, share of the window, FLOP/s, bytes/s,
// and how much of the peak of what bounds it. "–" where an operation has no FLOP or no bytes. `device` as the user
// knows it.
std::string profile_table(const WindowProfile& profile, const MachinePeaks& peaks, const std::string& device);

}  // namespace accrue::train

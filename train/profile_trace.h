// A window's profile for tools.
#pragma once

#include <string>

#include "train/window_profile.h"

namespace accrue::train {

// Every call on a line of time, in Chrome's trace format (chrome://tracing and ui.perfetto.dev open it): complete
// events in microseconds, inside that of the window. args: flop and bytes.
std::string profile_trace(const WindowProfile& profile, const MachinePeaks& peaks, const std::string& device);

}  // namespace accrue::train

// Whether there is code for a device in this program.
#pragma once

namespace accrue::cuda {

// Asks for a kernel that is compiled for the same GPUs as all of them.
bool current_device_has_code();

}  // namespace accrue::cuda

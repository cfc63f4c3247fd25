// Memory fences. One thread runs at a time and sees all that others have written, so they matter to the checker alone.
#pragma once

namespace accrue::emulator {

void fence_block();
void fence_device();

}  // namespace accrue::emulator

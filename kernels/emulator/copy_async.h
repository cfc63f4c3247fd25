// cp.async: copies from global to shared memory that are under way until their thread waits for them.
#pragma once

namespace accrue::emulator {

// At the start of a block: copies that the block before has not waited for never arrive.
void forget_copies();

}  // namespace accrue::emulator

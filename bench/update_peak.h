// What the CPU's memory gives to an optimizer's pass at best, measured in this process the first time that somebody
// asks.
#pragma once

namespace accrue::bench {

// Bytes a second of the least that Adam must do: four f32 arrays that no cache holds are read and three of them written
// in place, seven streams, on all cores.
double cpu_update_peak();

}  // namespace accrue::bench

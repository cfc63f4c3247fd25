// How a process ends that the emulator stops. docs/emulator.md explains them to users.
#pragma once

namespace accrue::emulator {

inline constexpr int kExitUsage = 2;      // a setting in the environment is none
inline constexpr int kExitFault = 85;     // a thread did what CUDA leaves undefined or forbids
inline constexpr int kExitDeadlock = 86;  // threads wait for each other for ever
inline constexpr int kExitChecker = 88;   // the checker build has found something

}  // namespace accrue::emulator

// Where a tensor lives.
#pragma once

#include <cstdint>
#include <string>

namespace accrue {

enum class DeviceKind : std::uint8_t { cpu, cuda };

// A device's kind and index; its memory is Allocator::of(device), its compute stream belongs to the kernels' backend.
struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int index = 0;

  static constexpr Device cpu() { return {}; }
  static constexpr Device cuda(int index = 0) { return {.kind = DeviceKind::cuda, .index = index}; }
  std::string to_string() const;  // "cpu", "cuda:0"
  friend bool operator==(Device, Device) = default;
};

// "auto" takes the fastest device this build and machine have (an emulated one never is); "cpu" and "cuda[:i]" name
// one. Throws Error(usage) for an unknown name and Error(no_device) for a device that is not here.
Device parse_device(const std::string& name);

}  // namespace accrue

#include "core/device.h"

#include <charconv>
#include <string_view>

#include "core/check.h"
#include "core/cuda_devices.h"

namespace accrue {

std::string Device::to_string() const { return kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", index); }

Device parse_device(const std::string& name) {
  if (name == "cpu") return Device::cpu();
  if (name == "auto") return cuda::usable(0) && !cuda::emulated() ? Device::cuda() : Device::cpu();
  int index = 0;
  const std::string_view text = name;
  if (text.starts_with("cuda:")) {
    const auto [end, error] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size() || index < 0)
      fail(ErrorKind::usage, "--device {}: cuda: must be followed by the number of a device, as in cuda:0", name);
  } else if (name != "cuda") {
    fail(ErrorKind::usage, "--device {}: unknown device; use auto, cpu or cuda", name);
  }
  if (cuda::device_count() == 0) fail(ErrorKind::no_device, "--device {}: {}", name, cuda::why_unavailable());
  if (index >= cuda::device_count())
    fail(ErrorKind::no_device, "--device {}: this machine has cuda:0 to cuda:{} only", name, cuda::device_count() - 1);
  return Device::cuda(index);
}

}  // namespace accrue

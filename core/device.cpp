#include "core/device.h"

#include "core/check.h"

namespace accrue {

std::string Device::to_string() const { return kind == DeviceKind::cpu ? "cpu" : fmt::format("cuda:{}", index); }

Device parse_device(const std::string& name) {
  if (name == "auto" || name == "cpu") return Device::cpu();
  if (name == "cuda" || name.starts_with("cuda:"))
    fail(ErrorKind::no_device, "--device {}: this build of Accrue has no CUDA backend; use --device cpu", name);
  fail(ErrorKind::usage, "--device {}: unknown device; use auto, cpu or cuda", name);
}

}  // namespace accrue

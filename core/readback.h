// Device memory on its way to the host, without anybody waiting for it.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace accrue {

// A few bytes of a device that the host wants to see, but not at once. One copy is under way at a time.
class Readback {
 public:
  virtual ~Readback() = default;
  // The bytes as they are once the work so far is done; what follows may change them.
  virtual void begin(const void* source) = 0;
  // The bytes that begin() asked for; they stay until the next begin().
  virtual const std::byte* wait() = 0;
};

// On a device whose work is done when its call returns.
class ImmediateReadback final : public Readback {
 public:
  explicit ImmediateReadback(std::size_t bytes) : bytes_(bytes) {}
  void begin(const void* source) override {
    const auto* from = static_cast<const std::byte*>(source);
    bytes_.assign(from, from + bytes_.size());
  }
  const std::byte* wait() override { return bytes_.data(); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace accrue

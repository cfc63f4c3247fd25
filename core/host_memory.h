// The CPU's memory as the allocator sees it.
#pragma once

#include "core/allocator.h"

namespace accrue {

class HostMemory final : public DeviceMemory {
 public:
  void* allocate(std::size_t bytes) override;
  void release(void* pointer, std::size_t bytes) noexcept override;
  std::size_t available() const override;
  void fill(void* destination, int byte, std::size_t bytes) override;
  void copy(void* destination, const void* source, std::size_t bytes) override;
  void copy_from_host(void* destination, const void* source, std::size_t bytes) override;
  void copy_to_host(void* destination, const void* source, std::size_t bytes) override;
};

}  // namespace accrue

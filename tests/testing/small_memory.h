// A device of a few MiB with an allocator, for tests of how memory is handed out.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>

#include "core/allocator.h"
#include "core/host_memory.h"

namespace accrue::allocator_test {

inline constexpr std::size_t mebibyte = std::size_t{1} << 20;
inline constexpr std::size_t segment = 32 * mebibyte;  // what the allocator takes from the device at least
#if defined(__SANITIZE_ADDRESS__)
inline constexpr std::size_t gap = Allocator::alignment;  // guarded, behind every block
#else
inline constexpr std::size_t gap = 0;
#endif
inline constexpr std::size_t whole_segment = segment - gap;

// Host memory of a limited size that counts what is taken from it.
class SmallMemory final : public DeviceMemory {
 public:
  explicit SmallMemory(std::size_t capacity) : capacity_(capacity) {}

  void* allocate(std::size_t bytes) override {
    ++requests;
    if (bytes > available()) return nullptr;
    taken += bytes;
    return host_.allocate(bytes);
  }
  void release(void* pointer, std::size_t bytes) noexcept override {
    taken -= bytes;
    host_.release(pointer, bytes);
  }
  std::size_t available() const override { return capacity_ - taken; }
  void fill(void* destination, int byte, std::size_t bytes) override { host_.fill(destination, byte, bytes); }
  void copy(void* destination, const void* source, std::size_t bytes) override {
    host_.copy(destination, source, bytes);
  }
  void copy_from_host(void* destination, const void* source, std::size_t bytes) override {
    host_.copy(destination, source, bytes);
  }
  void copy_to_host(void* destination, const void* source, std::size_t bytes) override {
    host_.copy(destination, source, bytes);
  }

  std::size_t taken = 0;
  int requests = 0;

 private:
  std::size_t capacity_;
  HostMemory host_;
};

struct Allocation : ::testing::Test {
  SmallMemory memory{256 * mebibyte};
  Allocator allocator{Device::cpu(), memory};

  char* take(std::size_t bytes, Category category = Category::activations) {
    return static_cast<char*>(allocator.allocate(bytes, category));
  }
};

}  // namespace accrue::allocator_test

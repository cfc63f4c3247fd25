// A caching arena per device with exact accounting: every byte Accrue uses on a device goes through here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

#include "core/device.h"
#include "core/readback.h"
#include "core/stopwatch.h"
#include "core/timeline.h"

namespace accrue {

// What a block is for; live and peak bytes are kept per category.
enum class Category : std::uint8_t { parameters, gradients, optimizer, activations, workspace, data };
inline constexpr std::size_t category_count = 6;
std::string_view name_of(Category category);

struct MemoryStats {
  struct Usage {
    std::size_t live = 0;  // bytes in use now
    std::size_t peak = 0;  // most bytes in use at once since the last reset_peak()
  };
  Usage total;
  std::array<Usage, category_count> by_category;
  std::size_t reserved = 0;  // bytes taken from the device, in use or cached

  const Usage& operator[](Category category) const { return by_category[static_cast<std::size_t>(category)]; }
};

// The memory of one kind of device: what an allocator draws on and how bytes move. A backend implements it once.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  // At least `bytes` bytes aligned to 64, or nullptr when there is no more.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* pointer, std::size_t bytes) noexcept = 0;
  // Bytes that could still be allocated, as far as the system tells; else SIZE_MAX.
  virtual std::size_t available() const = 0;
  // Whether the host may touch the memory, as AddressSanitizer's checks of the arena do.
  virtual bool host_addressable() const { return true; }
  virtual void fill(void* destination, int byte, std::size_t bytes) = 0;
  virtual void copy(void* destination, const void* source, std::size_t bytes) = 0;
  virtual void copy_from_host(void* destination, const void* source, std::size_t bytes) = 0;
  virtual void copy_to_host(void* destination, const void* source, std::size_t bytes) = 0;
  // The first bytes of a block of Category::data that was just allocated; may overlap with computation.
  virtual void upload(void* destination, const void* source, std::size_t bytes) {
    copy_from_host(destination, source, bytes);
  }
  // For copies of this many bytes to the host.
  virtual std::unique_ptr<Readback> readback(std::size_t bytes) { return std::make_unique<ImmediateReadback>(bytes); }
  virtual std::unique_ptr<Stopwatch> stopwatch() { return std::make_unique<HostStopwatch>(); }
  virtual std::unique_ptr<Timeline> timeline() { return std::make_unique<HostTimeline>(); }
  // A block of Category::data may be handed out again: uploads into it wait for what is computed up to now.
  virtual void data_released() noexcept {}
};

// Best fit over large segments, blocks split and coalesced, ties by address: the same sequence of requests from the
// same state gets the same addresses. Blocks of Category::data have segments of their own. Thread-safe.
// ACCRUE_ALLOCATOR=direct in the environment takes every block of a GPU from the device alone and gives it back at
// once: slow, but its memory checkers then see each block's bounds.
class Allocator {
 public:
  static constexpr std::size_t alignment = 64;

  // The allocator of a device; it lives until the process ends. Throws Error(no_device) if there is no such device.
  static Allocator& of(Device device);

  // How blocks come and go: out of cached segments, or one by one from the device.
  enum class Blocks { cached, direct };
  explicit Allocator(Device device, DeviceMemory& memory, Blocks blocks = Blocks::cached);
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  // Uninitialised bytes (NaN patterns in sanitizer builds). Throws Error(memory) naming the need, what is free and what
  // is in use for what, or std::bad_alloc; nothing has changed then.
  void* allocate(std::size_t bytes, Category category);
  // Allocates nothing itself, lest it fail. Ends the process with a message if `pointer` is no block in use: freed
  // twice, or of another allocator.
  void deallocate(void* pointer) noexcept;

  MemoryStats stats() const;
  void reset_peak();
  // No more than this many bytes may be in use at once; 0 lifts the limit. No more than that is taken from the device
  // either, but for what free pieces below the limit are too small to hold. What is reserved already stays.
  void set_limit(std::size_t bytes);
  // For tests of what a failure leaves behind: asked at every request, whether to refuse it as if the device were full.
  // An empty function lifts it.
  void refuse_when(std::function<bool()> refuses);
  // Returns wholly unused segments to the device.
  void release_cached();
  DeviceMemory& memory() { return memory_; }

 private:
  struct State;
  // Takes a segment from the device that has room for a block of `extent` bytes; throws Error(memory) if there is none.
  void add_segment(std::size_t extent, Category category);
  [[noreturn]] void fail_for_want_of(std::size_t bytes, Category category) const;

  Device device_;
  DeviceMemory& memory_;
  Blocks blocks_;
  State* state_;
};

}  // namespace accrue

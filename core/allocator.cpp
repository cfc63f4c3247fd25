#include "core/allocator.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "core/check.h"
#include "core/cuda_devices.h"
#include "core/format_bytes.h"
#include "core/host_memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1  // clang says it in another way than gcc
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace accrue {
namespace {

constexpr std::size_t segment_bytes = std::size_t{32} << 20;
constexpr std::size_t huge_page = std::size_t{2} << 20;

// Input data is uploaded beside the computation, which is safe only where nothing else ever lay.
enum class Pool : std::uint8_t { computation, data };
Pool pool_of(Category category) { return category == Category::data ? Pool::data : Pool::computation; }
std::size_t segment_bytes_of(Pool pool) { return pool == Pool::data ? huge_page : segment_bytes; }

#if defined(__SANITIZE_ADDRESS__)
// Unused bytes and a gap behind every block are poisoned, so AddressSanitizer sees overflows inside the arena too.
constexpr std::size_t red_zone = Allocator::alignment;
void poison_region(void* pointer, std::size_t bytes) { ASAN_POISON_MEMORY_REGION(pointer, bytes); }
void unpoison_region(void* pointer, std::size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(pointer, bytes); }
constexpr bool fill_fresh_blocks = true;
#else
constexpr std::size_t red_zone = 0;
void poison_region(void*, std::size_t) {}
void unpoison_region(void*, std::size_t) {}
constexpr bool fill_fresh_blocks = false;
#endif

void poison(const DeviceMemory& memory, void* pointer, std::size_t bytes) {
  if (memory.host_addressable()) poison_region(pointer, bytes);
}
void unpoison(const DeviceMemory& memory, void* pointer, std::size_t bytes) {
  if (memory.host_addressable()) unpoison_region(pointer, bytes);
}

std::size_t round_up(std::size_t bytes, std::size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

void add_usage(MemoryStats::Usage& usage, std::size_t bytes) {
  usage.live += bytes;
  usage.peak = std::max(usage.peak, usage.live);
}

}  // namespace

std::string_view name_of(Category category) {
  static constexpr std::array<std::string_view, category_count> names = {"parameters",  "gradients", "optimizer",
                                                                         "activations", "workspace", "data"};
  return names[static_cast<std::size_t>(category)];
}

namespace {

using FreeList = std::set<std::pair<std::size_t, char*>>;  // by size, then address

// A place in a free list that no block has yet.
FreeList::node_type new_place() {
  FreeList made = {{0, nullptr}};
  return made.extract(made.begin());
}

}  // namespace

struct Allocator::State {
  struct Block {
    std::size_t bytes = 0;      // extent in the segment, red zone included
    std::size_t requested = 0;  // what is accounted: the request rounded up to the alignment
    Category category{};
    Pool pool{};
    bool used = false;
    bool first_in_segment = false;
    FreeList::node_type place = new_place();  // kept while the block is on no list: giving back must not need memory
  };
  using Blocks = std::map<char*, Block>;

  mutable std::mutex mutex;
  Blocks blocks;                 // every block of every segment, by address
  std::array<FreeList, 2> free;  // the unused ones of each pool
  MemoryStats stats;
  std::size_t limit = 0;
  std::function<bool()> refuses;

  // A block that is on no list and in no segment yet.
  static Blocks::node_type new_block(Pool pool) {
    Blocks made;
    made.try_emplace(nullptr).first->second.pool = pool;
    return made.extract(made.begin());
  }

  FreeList& free_of(Pool pool) { return free[static_cast<std::size_t>(pool)]; }
  void insert_free(Blocks::iterator block) {
    block->second.place.value() = {block->second.bytes, block->first};
    free_of(block->second.pool).insert(std::move(block->second.place));
  }
  void erase_free(Blocks::iterator block) {
    block->second.place = free_of(block->second.pool).extract({block->second.bytes, block->first});
  }
  Blocks::iterator insert_block(Blocks::node_type block, char* address, std::size_t bytes) {
    block.key() = address;
    block.mapped().bytes = bytes;
    return blocks.insert(std::move(block)).position;
  }

  // Takes a block off the free list, cut down to `bytes`; the rest stays on the list.
  void take(Blocks::iterator block, std::size_t bytes) {
    const std::size_t rest = block->second.bytes - bytes;
    if (rest < alignment + red_zone) return erase_free(block);
    Blocks::node_type fresh = new_block(block->second.pool);  // what may fail comes first
    erase_free(block);
    block->second.bytes = bytes;
    insert_free(insert_block(std::move(fresh), block->first + bytes, rest));
  }

  // Merges a block with a free successor in the same segment; both must be off the free list or unused.
  void absorb_next(Blocks::iterator block) {
    const auto next = std::next(block);
    if (next == blocks.end() || next->second.used || next->second.first_in_segment) return;
    erase_free(next);
    block->second.bytes += next->second.bytes;
    blocks.erase(next);
  }

  // Puts a block that was in use back on the free list, merged with its free neighbours.
  void give_back(Blocks::iterator block) {
    block->second.used = false;
    stats.total.live -= block->second.requested;
    stats.by_category[static_cast<std::size_t>(block->second.category)].live -= block->second.requested;
    absorb_next(block);
    if (!block->second.first_in_segment && block != blocks.begin()) {
      const auto previous = std::prev(block);
      if (!previous->second.used) {
        erase_free(previous);
        previous->second.bytes += block->second.bytes;
        blocks.erase(block);
        block = previous;
      }
    }
    insert_free(block);
  }

  // What the limit lets be taken from the device.
  std::size_t room() const { return limit == 0 ? SIZE_MAX : limit - std::min(limit, stats.reserved); }

  void release_unused_segments(DeviceMemory& memory) {
    for (auto block = blocks.begin(); block != blocks.end();) {
      const auto next = std::next(block);
      const bool whole = block->second.first_in_segment && (next == blocks.end() || next->second.first_in_segment);
      if (whole && !block->second.used) {
        erase_free(block);
        unpoison(memory, block->first, block->second.bytes);
        memory.release(block->first, block->second.bytes);
        stats.reserved -= block->second.bytes;
        blocks.erase(block);
      }
      block = next;
    }
  }
};

namespace {

// One for each device, made when it is first asked for.
Allocator& cuda_allocator(Device device) {
  static auto* mutex = new std::mutex;
  static auto* allocators = new std::map<int, std::unique_ptr<Allocator>>;
  const std::lock_guard lock(*mutex);
  std::unique_ptr<Allocator>& allocator = (*allocators)[device.index];
  if (!allocator) {
    const char* mode = std::getenv("ACCRUE_ALLOCATOR");
    const bool direct = mode != nullptr && std::string_view(mode) == "direct";
    allocator = std::make_unique<Allocator>(device, cuda::memory(device.index),
                                            direct ? Allocator::Blocks::direct : Allocator::Blocks::cached);
  }
  return *allocator;
}

}  // namespace

Allocator& Allocator::of(Device device) {
  // Never destroyed: tensors in static storage may be freed after any destructor would have run.
  if (device.kind == DeviceKind::cuda) return cuda_allocator(device);
  static auto* memory = new HostMemory;
  static auto* allocator = new Allocator(Device::cpu(), *memory);
  return *allocator;
}

Allocator::Allocator(Device device, DeviceMemory& memory, Blocks blocks)
    : device_(device), memory_(memory), blocks_(blocks), state_(new State) {}

Allocator::~Allocator() {
  state_->release_unused_segments(memory_);
  delete state_;
}

void Allocator::fail_for_want_of(std::size_t bytes, Category category) const {
  const MemoryStats& stats = state_->stats;
  const std::size_t limit = state_->limit, below_limit = limit - std::min(limit, stats.total.live);
  const std::size_t available = memory_.available();
  std::string free =
      available == SIZE_MAX ? "more than is free" : fmt::format("about {} free", format_bytes(available));
  if (limit != 0 && below_limit < bytes)
    free = fmt::format("{} free below the memory limit of {}", format_bytes(below_limit), format_bytes(limit));
  std::string in_use;
  for (std::size_t i = 0; i < category_count; ++i) {
    if (stats.by_category[i].live == 0) continue;
    in_use += fmt::format("{}{} of {}", in_use.empty() ? " (in use: " : ", ", format_bytes(stats.by_category[i].live),
                          name_of(static_cast<Category>(i)));
  }
  if (!in_use.empty()) in_use += ")";
  fail(ErrorKind::memory, "out of memory on {}: {} of {} needed, {}{}", device_.to_string(), format_bytes(bytes),
       name_of(category), free, in_use);
}

void Allocator::add_segment(std::size_t extent, Category category) {
  State& state = *state_;
  const Pool pool = pool_of(category);
  const bool direct = blocks_ == Blocks::direct;
  State::Blocks::node_type block = State::new_block(pool);  // what may fail comes before memory is taken
  block.mapped().first_in_segment = true;
  std::size_t segment = 0;
  void* memory = nullptr;
  const auto take_beyond_room = [&](std::size_t bytes) {
    segment = bytes;
    return (memory = memory_.allocate(bytes)) != nullptr;
  };
  const auto take = [&](std::size_t bytes) {
    return bytes >= extent && bytes <= state.room() && take_beyond_room(bytes);
  };
  const std::size_t smallest = direct ? extent : round_up(extent, huge_page);
  const std::size_t usual = direct ? extent : std::max(smallest, segment_bytes_of(pool));
  if (!take(usual)) {
    state.release_unused_segments(memory_);
    // Where the limit is near, or the device nearly full, what is left may still hold what is needed, just not a
    // segment. Of the room below the limit no more than half, so that the other pool finds some, too; and where what is
    // free there is in pieces that are too small, one more of just the size: the limit is one of bytes in use.
    const std::size_t within_limit = std::max(extent, std::min(usual, state.room() / 2 / alignment * alignment));
    const bool taken = take(usual) || (within_limit < usual && take(within_limit)) ||
                       (smallest < usual && take(smallest)) || (state.limit != 0 && take_beyond_room(extent));
    if (!taken) fail_for_want_of(extent - (direct ? 0 : red_zone), category);
  }
  state.stats.reserved += segment;
  poison(memory_, memory, segment);
  state.insert_free(state.insert_block(std::move(block), static_cast<char*>(memory), segment));
}

void* Allocator::allocate(std::size_t bytes, Category category) {
  const std::lock_guard lock(state_->mutex);
  State& state = *state_;
  check(bytes <= SIZE_MAX / 2, "Allocator: a request of {} bytes is beyond any device", bytes);
  const std::size_t requested = round_up(std::max<std::size_t>(bytes, 1), alignment);
  const bool beyond_limit = state.limit != 0 && state.stats.total.live + requested > state.limit;
  if (beyond_limit || (state.refuses && state.refuses())) fail_for_want_of(requested, category);

  const bool direct = blocks_ == Blocks::direct;
  const std::size_t extent = direct ? std::max<std::size_t>(bytes, 1) : requested + red_zone;
  const Pool pool = pool_of(category);
  FreeList& free = state.free_of(pool);
  auto fit = direct ? free.end() : free.lower_bound({extent, nullptr});
  if (fit == free.end()) {
    add_segment(extent, category);
    fit = free.lower_bound({extent, nullptr});
  }
  const auto block = state.blocks.find(fit->second);
  state.take(block, extent);
  block->second.used = true;
  block->second.requested = requested;
  block->second.category = category;
  add_usage(state.stats.total, requested);
  add_usage(state.stats.by_category[static_cast<std::size_t>(category)], requested);
  unpoison(memory_, block->first, bytes);
  if (fill_fresh_blocks && bytes != 0) {
    try {
      memory_.fill(block->first, 0xff, bytes);
    } catch (...) {
      poison(memory_, block->first, block->second.bytes);
      state.give_back(block);
      throw;
    }
    if (pool == Pool::data) memory_.data_released();
  }
  return block->first;
}

void Allocator::deallocate(void* pointer) noexcept {
  const std::lock_guard lock(state_->mutex);
  State& state = *state_;
  const auto block = state.blocks.find(static_cast<char*>(pointer));
  if (block == state.blocks.end() || !block->second.used) {
    // Whoever frees what it does not own has corrupted memory or soon will: there is nothing to go on with.
    fmt::print(stderr, "accrue: Allocator: {} is freed on {}, but is no block in use\n", pointer, device_.to_string());
    std::abort();
  }
  if (block->second.pool == Pool::data) memory_.data_released();
  poison(memory_, block->first, block->second.bytes);
  state.give_back(block);
  if (blocks_ == Blocks::direct) state.release_unused_segments(memory_);
}

MemoryStats Allocator::stats() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stats;
}

void Allocator::reset_peak() {
  const std::lock_guard lock(state_->mutex);
  state_->stats.total.peak = state_->stats.total.live;
  for (auto& usage : state_->stats.by_category) usage.peak = usage.live;
}

void Allocator::set_limit(std::size_t bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->limit = bytes;
}

void Allocator::refuse_when(std::function<bool()> refuses) {
  const std::lock_guard lock(state_->mutex);
  state_->refuses = std::move(refuses);
}

void Allocator::release_cached() {
  const std::lock_guard lock(state_->mutex);
  state_->release_unused_segments(memory_);
}

}  // namespace accrue

#include "core/allocator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "core/cuda_devices.h"
#include "core/host_memory.h"
#include "testing/compare.h"
#include "testing/small_memory.h"

namespace accrue::allocator_test {
namespace {

using testing::error_message;

TEST_F(Allocation, IsAlignedAndRoundedUpToTheAlignment) {
  for (std::size_t bytes : {0, 1, 63, 64, 65, 1000}) {
    const std::size_t before = allocator.stats().total.live;
    char* block = take(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % Allocator::alignment, 0u);
    const std::size_t rounded = std::max<std::size_t>(64, (bytes + 63) / 64 * 64);
    EXPECT_EQ(allocator.stats().total.live - before, rounded) << bytes;
  }
}

TEST_F(Allocation, IsAccountedByCategoryExactly) {
  char* parameters = take(6400, Category::parameters);
  char* activations = take(640);
  char* more_activations = take(64);
  allocator.deallocate(activations);
  const MemoryStats stats = allocator.stats();
  EXPECT_EQ(stats[Category::parameters].live, 6400u);
  EXPECT_EQ(stats[Category::parameters].peak, 6400u);
  EXPECT_EQ(stats[Category::activations].live, 64u);
  EXPECT_EQ(stats[Category::activations].peak, 704u);
  EXPECT_EQ(stats[Category::gradients].peak, 0u);
  EXPECT_EQ(stats.total.live, 6464u);
  EXPECT_EQ(stats.total.peak, 7104u);
  EXPECT_EQ(stats.reserved, segment);
  allocator.deallocate(parameters);
  allocator.deallocate(more_activations);
  EXPECT_EQ(allocator.stats().total.live, 0u);
}

TEST_F(Allocation, PeakStartsAgainFromWhatIsLive) {
  char* kept = take(128);
  allocator.deallocate(take(1280));
  allocator.reset_peak();
  EXPECT_EQ(allocator.stats().total.peak, 128u);
  EXPECT_EQ(allocator.stats()[Category::activations].peak, 128u);
  allocator.deallocate(kept);
  EXPECT_EQ(allocator.stats().total.peak, 128u);
}

// What a captured window needs: replaying its requests gives the same addresses.
TEST_F(Allocation, SequencesFromTheSameStateGetTheSameAddresses) {
  char* permanent = take(12345);
  const auto window = [&] {
    std::mt19937 random(3);
    std::vector<char*> addresses, live;
    for (int i = 0; i < 300; ++i) {
      if (!live.empty() && random() % 3 == 0) {
        const std::size_t at = random() % live.size();
        allocator.deallocate(live[at]);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(at));
      }
      live.push_back(take(random() % (400 * 1024)));
      addresses.push_back(live.back());
    }
    for (char* block : live) allocator.deallocate(block);
    return addresses;
  };
  window();  // the first one may have to get segments
  const std::vector<char*> second = window();
  EXPECT_EQ(second, window());
  EXPECT_EQ(second, window());
  allocator.deallocate(permanent);
}

TEST_F(Allocation, TakesTheBestFitAndTheLowestAddressAmongEquals) {
  char* large = take(4 * mebibyte);
  take(64);  // these stay between the others, so that they cannot merge
  char* small = take(mebibyte);
  take(64);
  char* also_small = take(mebibyte);
  take(64);
  allocator.deallocate(large);
  allocator.deallocate(also_small);
  allocator.deallocate(small);
  EXPECT_EQ(take(mebibyte), small);
  EXPECT_EQ(take(mebibyte), also_small);
  EXPECT_EQ(take(mebibyte), large);
}

TEST_F(Allocation, FreedNeighboursBecomeOneBlockInAnyOrder) {
  std::array<int, 3> order = {0, 1, 2};
  do {
    std::array<char*, 3> blocks = {take(8 * mebibyte), take(8 * mebibyte), take(8 * mebibyte)};
    for (int i : order) allocator.deallocate(blocks[static_cast<std::size_t>(i)]);
    char* joined = take(24 * mebibyte);
    EXPECT_EQ(joined, blocks[0]);
    EXPECT_EQ(allocator.stats().reserved, segment);
    allocator.deallocate(joined);
  } while (std::next_permutation(order.begin(), order.end()));
}

// Hands out neighbouring pieces of one region, and notes what comes back.
class NeighbouringMemory final : public DeviceMemory {
 public:
  NeighbouringMemory() : region_(static_cast<char*>(host_.allocate(region_bytes))) {}
  ~NeighbouringMemory() override { host_.release(region_, region_bytes); }

  void* allocate(std::size_t bytes) override {
    if (bytes > available()) return nullptr;
    char* piece = region_ + used_;
    used_ += bytes;
    pieces[piece] = bytes;
    return piece;
  }
  void release(void* pointer, std::size_t bytes) noexcept override { released[static_cast<char*>(pointer)] = bytes; }
  std::size_t available() const override { return region_bytes - used_; }
  void fill(void* destination, int byte, std::size_t bytes) override { host_.fill(destination, byte, bytes); }
  void copy(void* destination, const void* source, std::size_t bytes) override {
    host_.copy(destination, source, bytes);
  }
  void copy_from_host(void* to, const void* from, std::size_t bytes) override { host_.copy(to, from, bytes); }
  void copy_to_host(void* to, const void* from, std::size_t bytes) override { host_.copy(to, from, bytes); }

  std::map<char*, std::size_t> pieces, released;

 private:
  static constexpr std::size_t region_bytes = 128 * mebibyte;
  HostMemory host_;
  char* region_;
  std::size_t used_ = 0;
};

TEST(AllocationInNeighbouringSegments, NeverSpansTwoOfThem) {
  for (const bool first_goes_first : {true, false}) {
    NeighbouringMemory memory;
    Allocator allocator(Device::cpu(), memory);
    auto* first = static_cast<char*>(allocator.allocate(whole_segment, Category::data));
    auto* second = static_cast<char*>(allocator.allocate(whole_segment, Category::data));
    ASSERT_EQ(second, first + segment);
    allocator.deallocate(first_goes_first ? first : second);
    allocator.deallocate(first_goes_first ? second : first);
    void* large = allocator.allocate(40 * mebibyte, Category::data);
    EXPECT_EQ(memory.pieces.size(), 3u) << "the device may not let a block span two of its segments";
    allocator.deallocate(large);
    allocator.release_cached();
    EXPECT_EQ(memory.released, memory.pieces);
  }
}

TEST_F(Allocation, LeavesTheRestOfABlockToOthersHoweverSmall) {
  char* most = take(segment - 256);  // what is left holds one unit, and its gap in sanitizer builds
  char* last = take(64);
  EXPECT_EQ(allocator.stats().reserved, segment);
  allocator.deallocate(most);
  allocator.deallocate(last);
}

TEST_F(Allocation, ReusesWhatItHasInsteadOfAskingTheDevice) {
  allocator.deallocate(take(mebibyte));
  const int requests = memory.requests;
  for (int i = 0; i < 100; ++i) allocator.deallocate(take(mebibyte));
  EXPECT_EQ(memory.requests, requests);
}

TEST_F(Allocation, ReleaseCachedReturnsOnlyWhollyUnusedSegments) {
  char* in_first = take(64);
  char* second = take(segment);
  EXPECT_GT(memory.taken, segment);
  allocator.release_cached();
  EXPECT_EQ(memory.taken, allocator.stats().reserved);
  allocator.deallocate(second);
  EXPECT_GT(memory.taken, segment);  // cached
  allocator.release_cached();
  EXPECT_EQ(memory.taken, segment);
  EXPECT_EQ(allocator.stats().reserved, segment);
  allocator.deallocate(in_first);
  allocator.release_cached();
  EXPECT_EQ(memory.taken, 0u);
  EXPECT_EQ(allocator.stats().reserved, 0u);
}

TEST_F(Allocation, RefusesARequestNoDeviceCanMeet) {
  EXPECT_THAT(error_message([&] { take(SIZE_MAX); }), ::testing::HasSubstr("beyond any device"));
  EXPECT_EQ(memory.requests, 0);
}

TEST(AllocatorOf, IsOneAllocatorPerDevice) { EXPECT_EQ(&Allocator::of(Device::cpu()), &Allocator::of(Device::cpu())); }

TEST(AllocatorOf, RefusesADeviceThatIsNotHere) {
  const int count = cuda::device_count();
  const std::string expected =
      count == 0 ? "cuda:99: " + cuda::why_unavailable()
                 : fmt::format("cuda:99: there is no such device, this machine has cuda:0 to cuda:{}", count - 1);
  EXPECT_EQ(error_message([] { Allocator::of(Device::cuda(99)); }, ErrorKind::no_device), expected);
}

TEST(Category, HasANameForMessages) {
  EXPECT_EQ(name_of(Category::parameters), "parameters");
  EXPECT_EQ(name_of(Category::data), "data");
}

TEST_F(Allocation, EndsTheProcessThatFreesWhatIsNoBlockInUse) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // fork() alone is unsafe beside the threads of earlier tests
  char* block = take(1000);
  EXPECT_DEATH(allocator.deallocate(block + 64), "is freed on cpu, but is no block in use");
  allocator.deallocate(block);
  EXPECT_DEATH(allocator.deallocate(block), "is freed on cpu, but is no block in use");
}

#if defined(__SANITIZE_ADDRESS__)
TEST_F(Allocation, HoldsNaNsInSanitizerBuilds) {
  char* block = take(64);
  std::memset(block, 0, 64);
  allocator.deallocate(block);
  float value = 0;
  std::memcpy(&value, take(64), sizeof value);
  EXPECT_TRUE(std::isnan(value));
}

TEST_F(Allocation, IsGuardedAgainstOverflowsInSanitizerBuilds) {
  volatile char* block = take(100);
  take(100);
  EXPECT_DEATH(block[100] = 1, "use-after-poison");
  allocator.deallocate(const_cast<char*>(block));
  EXPECT_DEATH(block[0] = 1, "use-after-poison");
}
#endif

// What a simple book-keeper says about a sequence of requests.
class Model {
 public:
  void add(char* block, std::size_t bytes, Category category, char mark) {
    std::memset(block, mark, bytes);
    const std::size_t accounted = std::max<std::size_t>(64, (bytes + 63) / 64 * 64);
    RC_ASSERT(reinterpret_cast<std::uintptr_t>(block) % Allocator::alignment == 0);
    const auto after = live_.lower_bound(block);
    const bool ends_before_next = after == live_.end() || block + accounted <= after->first;
    const bool starts_behind_previous =
        after == live_.begin() || std::prev(after)->first + std::prev(after)->second.accounted <= block;
    RC_ASSERT(ends_before_next);
    RC_ASSERT(starts_behind_previous);
    live_[block] = {bytes, accounted, category, mark};
    usage(category, accounted);
  }

  // The live block at a position, checked to hold what was written into it, and forgotten.
  char* remove(std::size_t position) {
    auto found = live_.begin();
    std::advance(found, position % live_.size());
    const auto [block, entry] = *found;
    RC_ASSERT(std::all_of(block, block + entry.bytes, [&](char byte) { return byte == entry.mark; }));
    live_.erase(found);
    total_.live -= entry.accounted;
    by_category_[static_cast<std::size_t>(entry.category)].live -= entry.accounted;
    return block;
  }

  bool empty() const { return live_.empty(); }

  void compare(const MemoryStats& stats) const {
    const auto equal = [](const MemoryStats::Usage& a, const MemoryStats::Usage& b) {
      return a.live == b.live && a.peak == b.peak;
    };
    RC_ASSERT(equal(stats.total, total_));
    for (std::size_t i = 0; i < category_count; ++i) RC_ASSERT(equal(stats.by_category[i], by_category_[i]));
    RC_ASSERT(stats.reserved >= stats.total.live);
  }

 private:
  struct Entry {
    std::size_t bytes, accounted;
    Category category;
    char mark;
  };

  void usage(Category category, std::size_t bytes) {
    for (auto* usage : {&total_, &by_category_[static_cast<std::size_t>(category)]}) {
      usage->live += bytes;
      usage->peak = std::max(usage->peak, usage->live);
    }
  }

  std::map<char*, Entry> live_;
  MemoryStats::Usage total_;
  std::array<MemoryStats::Usage, category_count> by_category_;
};

RC_GTEST_PROP(AllocationProperty, BlocksNeverOverlapAndTheAccountsAreExact, ()) {
  SmallMemory memory(std::size_t{4} << 30);
  Allocator allocator(Device::cpu(), memory);
  Model model;
  const auto requests = *rc::gen::container<std::vector<std::uint32_t>>(rc::gen::arbitrary<std::uint32_t>());
  for (std::uint32_t request : requests) {
    const std::uint32_t kind = request % 8, detail = request / 8;
    if (kind < 3 && !model.empty()) {
      allocator.deallocate(model.remove(detail));
    } else if (kind == 3) {
      allocator.release_cached();
    } else {
      // Small ones, page-sized ones and, rarely, some that need a segment of their own.
      const std::size_t bytes = kind == 7                       ? detail % (512 * 1024)
                                : kind == 6 && detail % 16 == 0 ? segment + detail % 4096
                                                                : detail % 300;
      const auto category = static_cast<Category>(detail % category_count);
      model.add(static_cast<char*>(allocator.allocate(bytes, category)), bytes, category, static_cast<char>(detail));
    }
    model.compare(allocator.stats());
    RC_ASSERT(memory.taken == allocator.stats().reserved);
  }
  while (!model.empty()) allocator.deallocate(model.remove(0));
  allocator.release_cached();
  RC_ASSERT(memory.taken == 0u);
}

TEST_F(Allocation, SurvivesThreadsThatAllocateAndFreeAtOnce) {
  const auto work = [&](unsigned seed) {
    std::mt19937 random(seed);
    std::vector<std::pair<char*, std::size_t>> live;
    const auto free_one = [&] {
      const std::size_t at = random() % live.size();
      const auto [block, bytes] = live[at];
      for (std::size_t i = 0; i < bytes; ++i)
        ASSERT_EQ(block[i], static_cast<char>(seed)) << "another thread wrote here";
      allocator.deallocate(block);
      live[at] = live.back();
      live.pop_back();
    };
    for (int i = 0; i < 3000; ++i) {
      const std::size_t bytes = 1 + random() % 2000;
      live.emplace_back(take(bytes, static_cast<Category>(seed)), bytes);
      std::memset(live.back().first, static_cast<char>(seed), bytes);
      if (live.size() > 20) free_one();
    }
    while (!live.empty()) free_one();
  };
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
  const MemoryStats stats = allocator.stats();
  EXPECT_EQ(stats.total.live, 0u);
  for (unsigned seed = 0; seed < 4; ++seed) {
    EXPECT_EQ(stats.by_category[seed].live, 0u);
    EXPECT_GT(stats.by_category[seed].peak, 0u);
  }
  allocator.release_cached();
  EXPECT_EQ(memory.taken, 0u);
}

}  // namespace
}  // namespace accrue::allocator_test

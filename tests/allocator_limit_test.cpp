// What an allocator does where memory ends: below a limit, on a full device, by the will of a test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cstddef>
#include <vector>

#include "testing/compare.h"
#include "testing/small_memory.h"

namespace accrue::allocator_test {
namespace {

using testing::error_message;

TEST_F(Allocation, BeyondTheLimitSaysWhatIsNeededAndWhatIsAllowed) {
  allocator.set_limit(1024);
  char* most = take(960);
  EXPECT_EQ(error_message([&] { take(100, Category::gradients); }, ErrorKind::memory),
            "out of memory on cpu: 128 B of gradients needed, 64 B free below the memory limit of 1.0 KiB "
            "(in use: 960 B of activations)");
  EXPECT_EQ(allocator.stats().total.live, 960u);
  EXPECT_EQ(allocator.stats().total.peak, 960u);
  allocator.set_limit(1024 + 2 * gap);
  char* rest = take(64);
  EXPECT_EQ(memory.taken, 1024 + 2 * gap);  // exactly the limit
  allocator.deallocate(most);
  allocator.deallocate(rest);
  char* all = take(1024);
  allocator.set_limit(0);
  allocator.deallocate(take(mebibyte));
  allocator.deallocate(all);
}

TEST_F(Allocation, MoreThanTheLimitIsTakenOnlyForWhatFreePiecesCannotHold) {
  allocator.set_limit(40 * mebibyte);
  char* first = take(26 * mebibyte, Category::parameters);
  EXPECT_EQ(memory.taken, segment);
  char* second = take(5 * mebibyte);  // the rest of the first segment
  EXPECT_EQ(memory.taken, segment);
  char* third = take(7 * mebibyte);
  EXPECT_LE(memory.taken, 40 * mebibyte);
  EXPECT_EQ(error_message([&] { take(3 * mebibyte); }, ErrorKind::memory),
            "out of memory on cpu: 3.0 MiB of activations needed, 2.0 MiB free below the memory limit of 40.0 MiB "
            "(in use: 26.0 MiB of parameters, 12.0 MiB of activations)");
  char* fourth = take(2 * mebibyte);  // of which no piece is large enough
  EXPECT_EQ(allocator.stats().total.live, 40 * mebibyte);
  EXPECT_LE(memory.taken, 42 * mebibyte + 4 * gap);
  for (char* block : {first, second, third, fourth}) allocator.deallocate(block);
  char* large = take(39 * mebibyte);  // instead of what is cached
  EXPECT_LE(memory.taken, 40 * mebibyte);
  allocator.deallocate(large);
}

RC_GTEST_FIXTURE_PROP(Allocation, StaysBelowAnyLimitAndUsesItWhereAllIsFree, ()) {
  const std::size_t limit = *rc::gen::inRange<std::size_t>(1, 6 * mebibyte);
  allocator.release_cached();
  allocator.set_limit(limit);
  std::vector<char*> live;
  for (const std::size_t bytes :
       *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, 2 * limit))) {
    if (bytes % 3 == 0 && !live.empty()) {
      allocator.deallocate(live.back());
      live.pop_back();
    }
    try {
      live.push_back(take(bytes, bytes % 2 == 0 ? Category::data : Category::activations));
    } catch (const Error& error) {
      RC_ASSERT(error.kind() == ErrorKind::memory);
    }
    RC_ASSERT(allocator.stats().total.live <= limit);
    RC_ASSERT(memory.taken == allocator.stats().reserved);
  }
  for (char* block : live) allocator.deallocate(block);
  const std::size_t most = limit / Allocator::alignment * Allocator::alignment;
  if (most > gap) allocator.deallocate(take(most - gap));
}

TEST_F(Allocation, IsRefusedWhenATestSaysSo) {
  bool refuses = true;
  allocator.refuse_when([&] { return refuses; });
  EXPECT_THAT(error_message([&] { take(64); }, ErrorKind::memory), ::testing::HasSubstr("64 B of activations needed"));
  EXPECT_EQ(memory.requests, 0);
  refuses = false;
  allocator.deallocate(take(64));
  allocator.refuse_when({});
  allocator.deallocate(take(64));
}

TEST_F(Allocation, BeyondTheDeviceSaysWhatIsNeededAndWhatIsFree) {
  char* block = take(64, Category::parameters);  // a segment: 224 MiB are left
  EXPECT_EQ(error_message([&] { take(300 * mebibyte); }, ErrorKind::memory),
            "out of memory on cpu: 300.0 MiB of activations needed, about 224.0 MiB free (in use: 64 B of parameters)");
  EXPECT_EQ(allocator.stats().total.live, 64u);
  EXPECT_EQ(allocator.stats().reserved, segment);
  allocator.deallocate(block);
}

TEST_F(Allocation, GivesBackWhatIsCachedBeforeItFails) {
  allocator.deallocate(take(100 * mebibyte));
  allocator.deallocate(take(120 * mebibyte));  // both cached: 36 MiB or less are left on the device
  char* large = take(230 * mebibyte);
  EXPECT_EQ(memory.taken, allocator.stats().reserved);
  EXPECT_LT(memory.taken, 240 * mebibyte);
  allocator.deallocate(large);
}

TEST(AllocationOnANearlyFullDevice, TakesLessThanASegment) {
  SmallMemory memory(5 * mebibyte);
  Allocator allocator(Device::cpu(), memory);
  void* block = allocator.allocate(mebibyte, Category::data);
  EXPECT_EQ(memory.taken, 2 * mebibyte);
  allocator.deallocate(block);
}

}  // namespace
}  // namespace accrue::allocator_test

#include "kernels/emulator/copy_async.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "kernels/emulator/block.h"
#include "kernels/emulator/checker.h"

namespace accrue::emulator {
namespace {

struct Copy {
  void* shared;
  const void* global;
  std::size_t bytes;
  int group;
};

struct CopyQueue {
  std::vector<Copy> copies;
  int open_group = 0;  // the number of groups that have been committed
};

std::array<CopyQueue, kMaxThreads> queues;
bool any_copies = false;

bool aligned(const void* address, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(address) % bytes == 0; }

// An access of the library itself, so that AddressSanitizer and the checker see it as the thread's own.
void arrive(const Copy& copy) {
  checker::read(copy.global, copy.bytes);
  checker::written(copy.shared, copy.bytes);
  std::memcpy(copy.shared, copy.global, copy.bytes);
}

}  // namespace

void forget_copies() {
  if (!any_copies) return;
  for (CopyQueue& queue : queues) queue = {};
  any_copies = false;
}

void copy_async(void* shared, const void* global, std::size_t bytes, Location where) {
  if (bytes != 4 && bytes != 8 && bytes != 16) fail("cp.async copies 4, 8 or 16 bytes, but is asked for others", where);
  if (!aligned(shared, bytes)) fail("cp.async to shared memory that is not aligned to the size of the copy", where);
  if (!aligned(global, bytes)) fail("cp.async from global memory that is not aligned to the size of the copy", where);
  any_copies = true;
  CopyQueue& queue = queues[thread_in_block()];
  queue.copies.push_back({.shared = shared, .global = global, .bytes = bytes, .group = queue.open_group});
  checker::written(shared, bytes);
  checker::made_undefined(shared, bytes);
  std::memset(shared, 0xFF, bytes);
}

void copy_async_commit() { ++queues[thread_in_block()].open_group; }

void copy_async_wait(int groups_left) {
  CopyQueue& queue = queues[thread_in_block()];
  const int first_left = queue.open_group - groups_left;
  const auto left = std::find_if(queue.copies.begin(), queue.copies.end(),
                                 [first_left](const Copy& copy) { return copy.group >= first_left; });
  std::for_each(queue.copies.begin(), left, arrive);
  queue.copies.erase(queue.copies.begin(), left);
}

}  // namespace accrue::emulator

#include "tests/fuzz/allocations.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <new>

namespace accrue::fuzz {
namespace {

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
std::atomic<std::uint64_t> allocated = 0, limit = unlimited;

void count(std::size_t size) {
  if (allocated.fetch_add(size) + size <= limit.load()) return;
  lift_allocation_limit();
  std::fprintf(stderr, "finding: more bytes are allocated than the parser's limit, here %zu at once\n", size);
  std::abort();
}

void* allocate(std::size_t size) noexcept {
  count(size);
  return std::malloc(size);
}

void* allocate(std::size_t size, std::align_val_t alignment) noexcept {
  count(size);
  const auto boundary = static_cast<std::size_t>(alignment);
  return std::aligned_alloc(boundary, (size + boundary - 1) / boundary * boundary);
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

std::uint64_t allocated_bytes() { return allocated.load(); }
AllocationLimit::AllocationLimit(std::uint64_t bytes) { limit = allocated_bytes() + bytes; }
AllocationLimit::~AllocationLimit() { lift_allocation_limit(); }
void lift_allocation_limit() { limit = unlimited; }

}  // namespace accrue::fuzz

using accrue::fuzz::allocate;
using accrue::fuzz::or_throw;

void* operator new(std::size_t size) { return or_throw(allocate(size)); }
void* operator new[](std::size_t size) { return or_throw(allocate(size)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new(std::size_t size, std::align_val_t alignment) { return or_throw(allocate(size, alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return or_throw(allocate(size, alignment)); }

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

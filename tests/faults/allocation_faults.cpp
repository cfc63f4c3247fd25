#include "tests/faults/allocation_faults.h"

#include <dlfcn.h>
#include <execinfo.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace accrue::testing {
namespace {

// Of the heap: set and read by whatever thread allocates.
std::atomic<bool> counting = false, heap_has_failed = false;
std::atomic<std::int64_t> heap_requests = 0, heap_fails_at = -1;

// Where a library allocates and cannot tell of a failure: std::terminate() ends the process there, whoever calls. In
// the destructors of nlohmann::json, and in libstdc++ 12's std::filesystem::directory_iterator. Such a site is passed
// over, and the next one fails instead. The program exports its symbols to be able to tell.
bool in_a_library_that_cannot_tell() noexcept {
  static constexpr std::array<std::string_view, 2> functions = {"json_value7destroy", "18directory_iterator"};
  std::array<void*, 64> frames;
  const int depth = backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 0; i < depth; ++i) {
    Dl_info symbol;
    if (dladdr(frames[static_cast<std::size_t>(i)], &symbol) == 0 || symbol.dli_sname == nullptr) continue;
    const std::string_view name = symbol.dli_sname;
    for (const std::string_view function : functions)
      if (name.find(function) != name.npos) return true;
  }
  return false;
}

bool heap_refuses() noexcept {
  if (!counting || heap_requests++ < heap_fails_at || heap_fails_at < 0 || heap_has_failed) return false;
  counting = false;  // lest looking for the reason is counted, too
  heap_has_failed = !in_a_library_that_cannot_tell();
  counting = true;
  return heap_has_failed;
}

void count_heap_requests(std::int64_t fails_at) {
  std::array<void*, 1> frame;
  backtrace(frame.data(), 1);  // loads what it needs at its first call
  heap_has_failed = false;
  heap_requests = 0;
  heap_fails_at = fails_at;
  counting = true;
}

}  // namespace

void* allocate_or_null(std::size_t bytes, std::size_t alignment) noexcept {
  if (heap_refuses()) return nullptr;
  if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
  return std::aligned_alloc(alignment, (bytes + alignment) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* pointer = allocate_or_null(bytes, alignment);
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

namespace {

std::int64_t arena_requests = 0, arena_fails_at = -1;
bool arena_has_failed = false;

}  // namespace

AllocationFault::AllocationFault(FaultyMemory memory, Device device, std::int64_t site)
    : memory_(memory), device_(device) {
  if (memory == FaultyMemory::host) {
    count_heap_requests(site);
    return;
  }
  arena_requests = 0;
  arena_fails_at = site;
  arena_has_failed = false;
  Allocator::of(device).refuse_when([] {
    const bool refuses = arena_requests++ == arena_fails_at;
    arena_has_failed = arena_has_failed || refuses;
    return refuses;
  });
}

AllocationFault::~AllocationFault() {
  counting = false;
  if (memory_ == FaultyMemory::arena) Allocator::of(device_).refuse_when({});
}

bool AllocationFault::has_failed() const {
  return memory_ == FaultyMemory::host ? heap_has_failed.load() : arena_has_failed;
}

std::int64_t host_allocations_of(const std::function<void()>& call) {
  count_heap_requests(-1);
  call();
  counting = false;
  return heap_requests;
}

}  // namespace accrue::testing

// All of them: a sanitizer's own would not find what these have allocated.
using accrue::testing::allocate_or_null;
using accrue::testing::allocate_or_throw;
static constexpr std::size_t usual = alignof(std::max_align_t);
static std::size_t number(std::align_val_t alignment) { return static_cast<std::size_t>(alignment); }

void* operator new(std::size_t n) { return allocate_or_throw(n, usual); }
void* operator new[](std::size_t n) { return allocate_or_throw(n, usual); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return allocate_or_null(n, usual); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return allocate_or_null(n, usual); }
void* operator new(std::size_t n, std::align_val_t a) { return allocate_or_throw(n, number(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return allocate_or_throw(n, number(a)); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, number(a));
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, number(a));
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }

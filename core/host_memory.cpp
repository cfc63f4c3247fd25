#include "core/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace accrue {

void* HostMemory::allocate(std::size_t bytes) {
  void* pointer = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pointer == MAP_FAILED) return nullptr;
  // Huge pages turn thousands of page faults and TLB misses per segment into a few; advice only, failure is harmless.
  madvise(pointer, bytes, MADV_HUGEPAGE);
  return pointer;
}

void HostMemory::release(void* pointer, std::size_t bytes) noexcept { munmap(pointer, bytes); }

std::size_t HostMemory::available() const {
  const long pages = sysconf(_SC_AVPHYS_PAGES);
  return pages < 0 ? 0 : static_cast<std::size_t>(pages) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

void HostMemory::fill(void* destination, int byte, std::size_t bytes) {
  if (bytes != 0) std::memset(destination, byte, bytes);
}
void HostMemory::copy(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) std::memcpy(destination, source, bytes);
}
void HostMemory::copy_from_host(void* destination, const void* source, std::size_t bytes) {
  copy(destination, source, bytes);
}
void HostMemory::copy_to_host(void* destination, const void* source, std::size_t bytes) {
  copy(destination, source, bytes);
}

}  // namespace accrue

#include "core/host_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

namespace accrue {
namespace {

// What the system says of its memory ("MemAvailable:   22009628 kB"), without a heap that may be used up.
class MemoryInfo {
 public:
  MemoryInfo() {
    const int file = ::open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    const ssize_t read = ::read(file, text_.data(), text_.size());
    ::close(file);
    length_ = read < 0 ? 0 : static_cast<std::size_t>(read);
  }
  std::optional<std::size_t> bytes(std::string_view name) const {
    const std::string_view text(text_.data(), length_);
    const std::size_t line = text.find(name);
    const std::size_t digits = line == text.npos ? line : text.find_first_not_of(' ', line + name.size());
    std::size_t kibibytes = 0;
    if (digits == text.npos ||
        std::from_chars(text.data() + digits, text.data() + text.size(), kibibytes).ec != std::errc())
      return std::nullopt;
    return kibibytes * 1024;
  }

 private:
  std::array<char, 4096> text_;
  std::size_t length_ = 0;
};

}  // namespace

void* HostMemory::allocate(std::size_t bytes) {
  // Linux promises more than it has, and kills the process that asks for it page by page: a refusal can be told.
  if (bytes > available()) return nullptr;
  void* pointer = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pointer == MAP_FAILED) return nullptr;
  // Huge pages turn thousands of page faults and TLB misses per segment into a few; advice only, failure is harmless.
  madvise(pointer, bytes, MADV_HUGEPAGE);
  return pointer;
}

void HostMemory::release(void* pointer, std::size_t bytes) noexcept { munmap(pointer, bytes); }

std::size_t HostMemory::available() const {
  const MemoryInfo info;
  const std::optional<std::size_t> memory = info.bytes("\nMemAvailable:");
  return memory ? *memory + info.bytes("\nSwapFree:").value_or(0) : SIZE_MAX;
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

#include "kernels/emulator/checker/shadow.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

namespace accrue::emulator::checker {
namespace {

constexpr std::uintptr_t aligned(std::uintptr_t address) { return address & ~(kCellBytes - 1); }

}  // namespace

Region::Region(std::string name, const void* begin, std::size_t bytes, Lifetime lifetime)
    : name_(std::move(name)),
      begin_(reinterpret_cast<std::uintptr_t>(begin)),
      end_(begin_ + bytes),
      aligned_begin_(aligned(begin_)),
      lifetime_(lifetime) {
  if (bytes == 0) return;
  const std::size_t shadow_bytes = (aligned(end_ - 1) - aligned_begin_ + kCellBytes) / kCellBytes * sizeof(Cell);
  void* cells = mmap(nullptr, shadow_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (cells == MAP_FAILED) {
    std::fprintf(stderr, "emulator: no address space for the checker's %zu bytes about %zu bytes of memory\n",
                 shadow_bytes, bytes);
    std::abort();
  }
  cells_ = {static_cast<Cell*>(cells), Unmap{shadow_bytes}};
}

void Region::Unmap::operator()(Cell* cells) const { munmap(cells, bytes); }

void Region::set_defined(std::uintptr_t address, std::size_t bytes, bool defined, std::uint32_t block_run) {
  for (std::uintptr_t begin = aligned(address); begin < address + bytes; begin += kCellBytes) {
    Cell& touched = cell(begin, block_run);
    const std::uint8_t mask = covered_bytes(begin, address, bytes);
    touched.defined = static_cast<std::uint8_t>(defined ? touched.defined | mask : touched.defined & ~mask);
  }
}

std::uint8_t covered_bytes(std::uintptr_t cell_begin, std::uintptr_t address, std::size_t bytes) {
  unsigned mask = 0;
  for (unsigned i = 0; i < kCellBytes; ++i) {
    if (cell_begin + i >= address && cell_begin + i < address + bytes) mask |= 1u << i;
  }
  return static_cast<std::uint8_t>(mask);
}

void Memory::add(const char* name, const void* begin, std::size_t bytes) {
  regions_[reinterpret_cast<std::uintptr_t>(begin)] = Region(name, begin, bytes, Region::Lifetime::allocation);
  recent_ = {};
}

void Memory::remove(const void* begin) {
  regions_.erase(reinterpret_cast<std::uintptr_t>(begin));
  recent_ = {};
}

void Memory::set_dynamic_shared(const void* begin, std::size_t bytes) {
  dynamic_shared_ = Region("dynamic shared memory", begin, bytes, Region::Lifetime::block);
}

void Memory::add_shared_variable(const SharedVariable& variable) {
  const auto begin = reinterpret_cast<std::uintptr_t>(variable.begin);
  regions_[begin] = Region("__shared__ " + variable.name, variable.begin, variable.bytes, Region::Lifetime::block);
  recent_ = {};
}

Region* Memory::find(std::uintptr_t address, std::size_t bytes) {
  if (dynamic_shared_.contains(address, bytes)) return &dynamic_shared_;
  Region*& known = recent(address);
  if (known != nullptr && known->contains(address, bytes)) return known;
  auto next = regions_.upper_bound(address);
  if (next == regions_.begin()) return nullptr;
  --next;
  if (!next->second.contains(address, bytes)) return nullptr;
  return known = &next->second;
}

const Region* Memory::last_before(std::uintptr_t address) const {
  const Region* result =
      dynamic_shared_.begin() != 0 && dynamic_shared_.begin() <= address ? &dynamic_shared_ : nullptr;
  const auto next = regions_.upper_bound(address);
  if (next == regions_.begin()) return result;
  const Region& before = std::prev(next)->second;
  return result == nullptr || before.begin() > result->begin() ? &before : result;
}

}  // namespace accrue::emulator::checker

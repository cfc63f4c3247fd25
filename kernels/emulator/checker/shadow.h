// What the checker knows of memory: for each four bytes who has read and written them, and which hold a value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "kernels/emulator/checker/access_order.h"
#include "kernels/emulator/shared_variables.h"

namespace accrue::emulator::checker {

inline constexpr std::uintptr_t kCellBytes = 4;

struct Cell {
  Access write, read;
  std::uint32_t block_run = 0;  // in shared memory: the cell is of this block, and means nothing to the next
  std::uint8_t defined = 0;     // bytes that hold a value, as a mask
};

// Memory that kernels may use.
class Region {
 public:
  enum class Lifetime { allocation, block };

  Region() = default;
  Region(std::string name, const void* begin, std::size_t bytes, Lifetime lifetime);

  const std::string& name() const { return name_; }
  Lifetime lifetime() const { return lifetime_; }
  std::uintptr_t begin() const { return begin_; }
  std::uintptr_t end() const { return end_; }
  bool contains(std::uintptr_t address, std::size_t bytes) const {
    return begin_ <= address && address + bytes <= end_;
  }

  // `block_run` numbers the blocks that have run.
  Cell& cell(std::uintptr_t address, std::uint32_t block_run) {
    Cell& cell = cells_.get()[(address - aligned_begin_) / kCellBytes];
    if (lifetime_ == Lifetime::block && cell.block_run != block_run) cell = {.block_run = block_run};
    return cell;
  }
  void set_defined(std::uintptr_t address, std::size_t bytes, bool defined, std::uint32_t block_run);

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(Cell* cells) const;
  };

  std::string name_;
  std::uintptr_t begin_ = 0, end_ = 0, aligned_begin_ = 0;
  Lifetime lifetime_ = Lifetime::allocation;
  std::unique_ptr<Cell, Unmap> cells_;  // mapped, not allocated: only the pages that are touched cost memory
};

// The bytes of the cell at `cell_begin` that an access covers.
std::uint8_t covered_bytes(std::uintptr_t cell_begin, std::uintptr_t address, std::size_t bytes);

class Memory {
 public:
  void add(const char* name, const void* begin, std::size_t bytes);
  void remove(const void* begin);
  void set_dynamic_shared(const void* begin, std::size_t bytes);
  void add_shared_variable(const SharedVariable& variable);

  Region* find(std::uintptr_t address, std::size_t bytes);
  const Region* last_before(std::uintptr_t address) const;  // for messages about what lies behind its end

 private:
  // Kernels go to and fro between a few arrays: where the last access to a part of memory led is kept.
  static constexpr std::size_t kRecent = 64;
  Region*& recent(std::uintptr_t address) { return recent_[address / 1024 % kRecent]; }

  Region dynamic_shared_;
  std::map<std::uintptr_t, Region> regions_;
  std::array<Region*, kRecent> recent_{};
};

}  // namespace accrue::emulator::checker

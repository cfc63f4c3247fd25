#include "kernels/emulator/checker/checker.h"

#include <link.h>

#include <string>
#include <vector>

#include "kernels/emulator/block.h"
#include "kernels/emulator/checker/report.h"
#include "kernels/emulator/shared_variables.h"

namespace accrue::emulator::checker {
namespace {

struct Range {
  std::uintptr_t begin, end;
  bool contains(std::uintptr_t address) const { return begin <= address && address < end; }
};

template <class T>
Range range_of(const T& object) {
  const auto begin = reinterpret_cast<std::uintptr_t>(&object);
  return {begin, begin + sizeof object};
}

// Where the program and its libraries are loaded: constants, __constant__ and __device__ variables.
std::vector<Range> loaded_segments() {
  std::vector<Range> ranges;
  const auto collect = [](dl_phdr_info* module, std::size_t, void* result) {
    for (int i = 0; i < module->dlpi_phnum; ++i) {
      const auto& header = module->dlpi_phdr[i];
      const std::uintptr_t begin = module->dlpi_addr + header.p_vaddr;
      if (header.p_type == PT_LOAD)
        static_cast<std::vector<Range>*>(result)->push_back({begin, begin + header.p_memsz});
    }
    return 0;
  };
  dl_iterate_phdr(collect, &ranges);
  return ranges;
}

bool is_loaded(std::uintptr_t address) {
  static const std::vector<Range> segments = loaded_segments();
  for (const Range& segment : segments) {
    if (segment.contains(address)) return true;
  }
  return false;
}

const char* name_of(Kind kind) {
  return kind == Kind::read ? "read" : kind == Kind::write ? "write" : "atomic operation";
}

std::string place(const Region& region, std::uintptr_t address) {
  return "byte " + std::to_string(address - region.begin()) + " of " + std::to_string(region.end() - region.begin()) +
         " in " + region.name();
}

}  // namespace

Checker& instance() {
  static Checker checker;
  return checker;
}

void Checker::launch_begins(const void* arguments, std::size_t bytes) {
  arguments_ = reinterpret_cast<std::uintptr_t>(arguments);
  arguments_bytes_ = bytes;
  order.launch_begins();
  static const bool known = [this] {
    for (const SharedVariable& variable : shared_variables()) memory.add_shared_variable(variable);
    return true;
  }();
  static_cast<void>(known);
}

void Checker::block_begins(std::uint64_t index) {
  ++block_run_;
  order.block_begins(index);
}

void Checker::set_defined(const void* begin, std::size_t bytes, bool defined) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  Region* region = memory.find(address, bytes);
  if (region != nullptr) region->set_defined(address, bytes, defined, block_run_);
}

void Checker::access(const void* pointer, std::size_t bytes, Kind kind, const void* return_address) {
  if (!active_ || Fiber::current().contains(pointer)) return;
  const Pause pause;
  const Touch touched = {reinterpret_cast<std::uintptr_t>(pointer), bytes, kind, return_address};
  if (Region* region = memory.find(touched.address, bytes)) {
    count(*region, touched);
    return touch(*region, touched);
  }
  if (!is_outside_of_device_memory(touched.address)) report_out_of_bounds(touched);
}

void Checker::count(const Region& region, const Touch& touched) {
  if (region.lifetime() != Region::Lifetime::allocation) return;  // shared memory
  if (touched.kind != Kind::write) traffic.bytes_read += touched.bytes;
  if (touched.kind != Kind::read) traffic.bytes_written += touched.bytes;
}

// What is neither global nor shared, and yet a kernel's to use.
bool Checker::is_outside_of_device_memory(std::uintptr_t address) const {
  if (address - arguments_ < arguments_bytes_) return true;
  return range_of(detail::running).contains(address) || range_of(block).contains(address) || is_loaded(address);
}

void Checker::touch(Region& region, const Touch& touched) {
  if (touched.kind == Kind::atomic) order.atomic(reinterpret_cast<const void*>(touched.address));
  const std::uintptr_t end = touched.address + touched.bytes;
  for (std::uintptr_t begin = touched.address & ~(kCellBytes - 1); begin < end; begin += kCellBytes) {
    const std::uint8_t mask = covered_bytes(begin, touched.address, touched.bytes);
    touch_cell(region, region.cell(begin, block_run_), mask, touched);
  }
}

void Checker::touch_cell(Region& region, Cell& cell, std::uint8_t mask, const Touch& touched) {
  const auto collides = [&](const Access& other) {
    return (other.bytes & mask) != 0 && !order.before_running_thread(other);
  };
  const bool writes = touched.kind != Kind::read, atomic = touched.kind == Kind::atomic;
  if (collides(cell.write) && !(atomic && cell.write.atomic)) {
    report_race(region, cell.write, cell.write.atomic ? Kind::atomic : Kind::write, touched);
  }
  if (writes && collides(cell.read)) report_race(region, cell.read, Kind::read, touched);
  if (touched.kind != Kind::write && (cell.defined & mask) != mask) report_undefined(region, touched);
  cell.defined |= mask;  // also after a report, which is enough for one byte
  const Access own = order.by_running_thread(mask, atomic);
  if (writes) {
    cell.write = own;
  } else if (!collides(cell.read)) {
    cell.read = own;  // of several readers the first is kept, as another thread's write will collide with it
  }
}

void Checker::report_race(const Region& region, const Access& other, Kind other_kind, const Touch& touched) {
  const std::string what =
      std::string("race: ") + name_of(touched.kind) + " of " + std::to_string(touched.bytes) + " bytes";
  report(what, source_line(touched.return_address),
         place(region, touched.address) + ", after a " + name_of(other_kind) + " by block " +
             std::to_string(other.block) + ", thread " + std::to_string(other.thread) +
             " that nothing orders before it");
}

void Checker::report_undefined(const Region& region, const Touch& touched) {
  report(std::string("undefined value: ") + name_of(touched.kind) + " of " + std::to_string(touched.bytes) + " bytes",
         source_line(touched.return_address), place(region, touched.address) + ", which nothing has written");
}

void Checker::report_out_of_bounds(const Touch& touched) {
  const Region* before = memory.last_before(touched.address);
  std::string details = "this is no memory of the device";
  if (before != nullptr && touched.address - before->begin() < (1u << 20)) details = place(*before, touched.address);
  report(std::string("out of bounds: ") + name_of(touched.kind) + " of " + std::to_string(touched.bytes) + " bytes",
         source_line(touched.return_address), details);
}

}  // namespace accrue::emulator::checker

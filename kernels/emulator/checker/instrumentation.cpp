// The functions that the compiler calls in kernels that are built with -fsanitize=thread (at each access to memory),
// -fsanitize=alignment (at one that is not aligned to its type) and -fsanitize=bounds (at an index that an array does
// not have). Their names and arguments are those of the compiler's own run-time libraries, which a checker build does
// not link.
#include <cstdint>
#include <string>

#include "kernels/emulator/checker/checker.h"
#include "kernels/emulator/checker/report.h"

using accrue::emulator::checker::instance;
using accrue::emulator::checker::Kind;
using accrue::emulator::checker::Pause;

#define ACCRUE_CHECKER_ACCESS(bytes)                                                                                   \
  void __tsan_read##bytes(void* memory) { instance().access(memory, bytes, Kind::read, __builtin_return_address(0)); } \
  void __tsan_write##bytes(void* memory) {                                                                             \
    instance().access(memory, bytes, Kind::write, __builtin_return_address(0));                                        \
  }                                                                                                                    \
  void __tsan_unaligned_read##bytes(void* memory) {                                                                    \
    instance().access(memory, bytes, Kind::read, __builtin_return_address(0));                                         \
  }                                                                                                                    \
  void __tsan_unaligned_write##bytes(void* memory) {                                                                   \
    instance().access(memory, bytes, Kind::write, __builtin_return_address(0));                                        \
  }

namespace {

// How -fsanitize=alignment describes an access.
struct SourceLocation {
  const char* file;
  std::uint32_t line, column;
};
struct TypeDescriptor {
  std::uint16_t kind, information;
  char name[1];
};
struct TypeMismatch {
  SourceLocation where;
  const TypeDescriptor* type;
  unsigned char log2_alignment, kind;
};
// And -fsanitize=bounds.
struct OutOfBounds {
  SourceLocation where;
  const TypeDescriptor *array, *index;
};

std::string line_of(const SourceLocation& where) { return std::string(where.file) + ":" + std::to_string(where.line); }

}  // namespace

extern "C" {

ACCRUE_CHECKER_ACCESS(1)
ACCRUE_CHECKER_ACCESS(2)
ACCRUE_CHECKER_ACCESS(4)
ACCRUE_CHECKER_ACCESS(8)
ACCRUE_CHECKER_ACCESS(16)

void __tsan_read_range(void* memory, unsigned long bytes) {
  instance().access(memory, bytes, Kind::read, __builtin_return_address(0));
}
void __tsan_write_range(void* memory, unsigned long bytes) {
  instance().access(memory, bytes, Kind::write, __builtin_return_address(0));
}

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void __ubsan_handle_type_mismatch_v1(const TypeMismatch* mismatch, std::uintptr_t address) {
  const Pause pause;
  accrue::emulator::checker::report(std::string("misaligned access to ") + mismatch->type->name,
                                    std::string(mismatch->where.file) + ":" + std::to_string(mismatch->where.line),
                                    "the address is " + std::to_string(address % (1u << mismatch->log2_alignment)) +
                                        " bytes past a multiple of " + std::to_string(1u << mismatch->log2_alignment));
}

void __ubsan_handle_out_of_bounds(const OutOfBounds* access, std::uintptr_t index) {
  const Pause pause;
  accrue::emulator::checker::report(std::string("out of bounds: index of ") + access->array->name,
                                    line_of(access->where),
                                    "the index is " + std::to_string(static_cast<std::intptr_t>(index)));
}

}  // extern "C"

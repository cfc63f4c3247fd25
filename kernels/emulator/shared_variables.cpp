#include "kernels/emulator/shared_variables.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <span>
#include <string_view>

namespace accrue::emulator {
namespace {

constexpr std::string_view kMangledMark = "B13accrue_shared", kDemangledMark = "[abi:accrue_shared]";

// The program's own file, mapped for as long as this lives. Empty where it cannot be read.
class ProgramFile {
 public:
  ProgramFile() {
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file < 0 || fstat(file, &status) != 0) return;
    bytes_ = static_cast<std::size_t>(status.st_size);
    void* mapping = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapping != MAP_FAILED) data_ = static_cast<const char*>(mapping);
    close(file);
  }
  ~ProgramFile() {
    if (data_ != nullptr) munmap(const_cast<char*>(data_), bytes_);
  }
  ProgramFile(const ProgramFile&) = delete;
  ProgramFile& operator=(const ProgramFile&) = delete;

  // The kernel has loaded this file, so that its headers are well-formed.
  template <class T>
  std::span<const T> table(std::size_t offset, std::size_t bytes) const {
    return {reinterpret_cast<const T*>(data_ + offset), bytes / sizeof(T)};
  }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  const char* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// By how much the program has been moved from the addresses in its file.
ElfW(Addr) load_offset() {
  ElfW(Addr) offset = 0;
  const auto take_first = [](dl_phdr_info* module, std::size_t, void* result) {
    *static_cast<ElfW(Addr)*>(result) = module->dlpi_addr;
    return 1;  // the main program is the first
  };
  dl_iterate_phdr(take_first, &offset);
  return offset;
}

std::string readable(const char* symbol) {
  const std::unique_ptr<char, decltype(&std::free)> demangled(abi::__cxa_demangle(symbol, nullptr, nullptr, nullptr),
                                                              std::free);
  std::string name = demangled ? demangled.get() : symbol;
  if (const auto mark = name.find(kDemangledMark); mark != std::string::npos) name.erase(mark, kDemangledMark.size());
  return name;
}

void collect(std::span<const ElfW(Sym)> symbols, const char* names, std::vector<SharedVariable>& result) {
  const ElfW(Addr) offset = load_offset();
  for (const ElfW(Sym) & symbol : symbols) {
    const char* name = names + symbol.st_name;
    const bool is_variable = (symbol.st_info & 0xF) == STT_OBJECT && symbol.st_size != 0;
    if (!is_variable || std::string_view(name).find(kMangledMark) == std::string_view::npos) continue;
    result.push_back({readable(name), reinterpret_cast<void*>(offset + symbol.st_value), symbol.st_size});
  }
}

std::vector<SharedVariable> find_all() {
  std::vector<SharedVariable> result;
  const ProgramFile file;
  if (!file) return result;
  const ElfW(Ehdr)& header = file.table<ElfW(Ehdr)>(0, sizeof(ElfW(Ehdr))).front();
  const auto sections = file.table<ElfW(Shdr)>(header.e_shoff, std::size_t{header.e_shnum} * header.e_shentsize);
  for (const ElfW(Shdr) & section : sections) {
    if (section.sh_type != SHT_SYMTAB) continue;
    const char* names = file.table<char>(sections[section.sh_link].sh_offset, 1).data();
    collect(file.table<ElfW(Sym)>(section.sh_offset, section.sh_size), names, result);
  }
  std::sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  return result;
}

}  // namespace

const std::vector<SharedVariable>& shared_variables() {
  static const std::vector<SharedVariable> all = find_all();
  return all;
}

}  // namespace accrue::emulator

#include "kernels/emulator/checker/report.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <sstream>
#include <unordered_map>

#include "kernels/emulator/diagnosis.h"
#include "kernels/emulator/exit_codes.h"

namespace accrue::emulator::checker {
namespace {

constexpr std::size_t kMostReports = 10;

std::set<std::string>& reported() {
  static std::set<std::string> instance;
  return instance;
}

void end_with_findings() {
  std::fprintf(stderr, "checker: findings: %zu\n", reported().size());
  std::fflush(nullptr);
  std::_Exit(kExitChecker);
}

std::string output_of(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  if (!pipe) return text;
  for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) text.push_back(static_cast<char>(c));
  return text;
}

// Of the inlined calls at an address, innermost first, the first that is not in the emulator.
std::string first_line_of_kernel(const std::string& lines) {
  std::istringstream input(lines);
  std::string line;
  while (std::getline(input, line)) {
    const bool known = !line.empty() && line.front() != '?';
    if (known && line.find("kernels/emulator/") == std::string::npos)
      return line.substr(0, line.find(" (discriminator"));
  }
  return {};
}

std::string find_source_line(const void* return_address) {
  Dl_info module{};
  if (dladdr(return_address, &module) == 0) return "an unknown place";
  // The call ends where it returns to; one byte before is inside of it.
  const auto offset = static_cast<const char*>(return_address) - static_cast<const char*>(module.dli_fbase) - 1;
  std::ostringstream address;
  address << "0x" << std::hex << offset;
  const std::string program = std::string(module.dli_fname);
  const std::string lines = output_of("addr2line -i -e '" + program + "' " + address.str() + " 2>/dev/null");
  const std::string line = first_line_of_kernel(lines);
  return line.empty() ? program + "+" + address.str() : line;
}

}  // namespace

std::string source_line(const void* return_address) {
  static std::unordered_map<const void*, std::string> known;
  const auto [entry, is_new] = known.try_emplace(return_address);
  if (is_new) entry->second = find_source_line(return_address);
  return entry->second;
}

void report(const std::string& what, const std::string& line, const std::string& details) {
  if (!reported().insert(what + line).second) return;
  static const bool registered = std::atexit(end_with_findings) == 0;
  static_cast<void>(registered);
  std::fprintf(stderr, "checker: %s at %s\n  %s\n", what.c_str(), line.c_str(), running_thread().c_str());
  if (!details.empty()) std::fprintf(stderr, "  %s\n", details.c_str());
  if (reported().size() >= kMostReports) {
    std::fprintf(stderr, "checker: giving up\n");
    end_with_findings();
  }
}

}  // namespace accrue::emulator::checker

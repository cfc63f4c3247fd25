// Drives the fuzz targets without libFuzzer:
//   fuzz_replay TARGET --corpus DIR [--executions N] [--seed S]   every file of DIR, then N mutations of them
//   fuzz_replay TARGET FILE…                                      these inputs, to see a finding again
// The input of a finding is kept in finding-TARGET in the working directory. The same seed gives the same inputs.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/mutations.h"

#define ACCRUE_FUZZ_TARGET(name) extern "C" int accrue_fuzz_##name(const std::uint8_t* data, std::size_t size);
#include "targets.inc"
#undef ACCRUE_FUZZ_TARGET

// AddressSanitizer's, where the program has it.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace accrue::fuzz {
namespace {

using Target = int (*)(const std::uint8_t*, std::size_t);

Target find_target(std::string_view name) {
#define ACCRUE_FUZZ_TARGET(target) \
  if (name == #target) return accrue_fuzz_##target;
#include "targets.inc"
#undef ACCRUE_FUZZ_TARGET
  return nullptr;
}

// What a handler of signals needs to keep the input of a finding.
const std::uint8_t* current_data = nullptr;
std::size_t current_size = 0;
char current_file[256];

void keep_input() {
  if (current_data == nullptr) return;  // not a target's finding
  const int file = ::open(current_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0 || ::write(file, current_data, current_size) < 0) return;
  ::close(file);
  constexpr std::string_view note = "the input is kept in ";
  for (const std::string_view text : {note, std::string_view(current_file), std::string_view("\n")})
    if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

void keep_input_of_signal(int signal) {
  keep_input();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void keep_input_of_findings(std::string_view target) {
  fmt::format_to_n(current_file, sizeof(current_file) - 1, "finding-{}", target);
  for (const int signal : {SIGABRT, SIGFPE, SIGILL}) std::signal(signal, keep_input_of_signal);
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(keep_input);
  } else {
    for (const int signal : {SIGSEGV, SIGBUS}) std::signal(signal, keep_input_of_signal);
  }
}

// In a copy of exactly its size, so that AddressSanitizer sees a read past its end.
void execute(Target target, const Input& input) {
  const auto copy = std::make_unique<std::uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), copy.get());
  current_data = copy.get(), current_size = input.size();
  target(copy.get(), input.size());
  current_data = nullptr;
}

Input read_input(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  Input input{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) {
    fmt::print(stderr, "{}: cannot be read\n", path.string());
    std::exit(2);
  }
  return input;
}

std::vector<Input> read_corpus(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) files.push_back(entry.path());
  if (files.empty()) {
    fmt::print(stderr, "{}: has no corpus{}\n", folder, error ? ": " + error.message() : "");
    std::exit(2);
  }
  std::sort(files.begin(), files.end());  // the system's order differs from machine to machine
  std::vector<Input> corpus;
  for (const auto& file : files) corpus.push_back(read_input(file));
  return corpus;
}

void replay_and_mutate(Target target, const std::string& folder, std::uint64_t executions, std::uint64_t seed) {
  const std::vector<Input> corpus = read_corpus(folder);
  std::size_t longest = 4096;
  for (const Input& input : corpus) {
    execute(target, input);
    longest = std::max(longest, input.size());
  }
  std::mt19937_64 random(seed);
  for (std::uint64_t i = 0; i < executions; ++i) execute(target, mutated(corpus, longest, random));
  fmt::print("{} inputs and {} mutations of them (seed {}): no finding\n", corpus.size(), executions, seed);
}

struct Options {
  std::string target, corpus;
  std::uint64_t executions = 0, seed = 1;
  std::vector<std::string> files;
};

std::optional<Options> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  if (arguments.empty()) return std::nullopt;
  options.target = arguments[0];
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument != "--corpus" && argument != "--executions" && argument != "--seed") {
      options.files.push_back(argument);
      continue;
    }
    if (++i == arguments.size()) return std::nullopt;
    const std::string& value = arguments[i];
    if (argument == "--corpus") {
      options.corpus = value;
      continue;
    }
    std::uint64_t& number = argument == "--seed" ? options.seed : options.executions;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) return std::nullopt;
  }
  if (options.corpus.empty() == options.files.empty()) return std::nullopt;
  return options;
}

int run(const std::vector<std::string>& arguments) {
  const std::optional<Options> options = parse_options(arguments);
  const Target target = options ? find_target(options->target) : nullptr;
  if (target == nullptr) {
    fmt::print(stderr, "usage: fuzz_replay TARGET (--corpus DIR [--executions N] [--seed S] | FILE…); targets:");
#define ACCRUE_FUZZ_TARGET(name) fmt::print(stderr, " " #name);
#include "targets.inc"
#undef ACCRUE_FUZZ_TARGET
    fmt::print(stderr, "\n");
    return 2;
  }
  keep_input_of_findings(options->target);
  if (!options->corpus.empty()) replay_and_mutate(target, options->corpus, options->executions, options->seed);
  for (const std::string& file : options->files) execute(target, read_input(file));
  return 0;
}

}  // namespace
}  // namespace accrue::fuzz

int main(int argc, char** argv) { return accrue::fuzz::run({argv + 1, argv + argc}); }

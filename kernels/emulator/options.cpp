#include "kernels/emulator/options.h"

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>

#include "kernels/emulator/exit_codes.h"

namespace accrue::emulator {
namespace {

[[noreturn]] void reject(const char* variable, const char* requirement, std::string_view value) {
  std::fprintf(stderr, "emulator: %s must be %s, but is '%.*s'\n", variable, requirement,
               static_cast<int>(value.size()), value.data());
  std::exit(kExitUsage);
}

std::optional<std::string_view> environment(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

// The number at the start of the text, with what follows it.
struct Number {
  std::uint64_t value;
  std::string_view rest;
};

std::optional<Number> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return Number{value, text.substr(static_cast<std::size_t>(end - text.data()))};
}

std::optional<int> binary_exponent(std::string_view suffix) {
  if (suffix.empty()) return 0;
  if (suffix == "K") return 10;
  if (suffix == "M") return 20;
  if (suffix == "G") return 30;
  return std::nullopt;
}

void read_order(Options& result) {
  const auto value = environment("ACCRUE_EMULATOR_ORDER");
  if (!value) return;
  if (*value == "forward") {
    result.order = Order::forward;
  } else if (*value == "reverse") {
    result.order = Order::reverse;
  } else if (*value == "random") {
    result.order = Order::random;
  } else {
    reject("ACCRUE_EMULATOR_ORDER", "forward, reverse or random", *value);
  }
}

void read_seed(Options& result) {
  const auto value = environment("ACCRUE_EMULATOR_SEED");
  if (!value) return;
  const auto seed = number(*value);
  if (!seed || !seed->rest.empty()) reject("ACCRUE_EMULATOR_SEED", "a whole number below 2^64", *value);
  result.seed = seed->value;
}

void read_streams(Options& result) {
  const auto value = environment("ACCRUE_EMULATOR_STREAMS");
  if (!value) return;
  if (*value == "eager") {
    result.streams = Streams::eager;
  } else if (*value == "lazy") {
    result.streams = Streams::lazy;
  } else {
    reject("ACCRUE_EMULATOR_STREAMS", "eager or lazy", *value);
  }
}

void read_memory(Options& result) {
  const auto value = environment("ACCRUE_EMULATOR_MEMORY");
  if (!value) return;
  constexpr auto variable = "ACCRUE_EMULATOR_MEMORY";
  constexpr auto requirement = "a number of bytes from 1 to below 2^63, such as 4096, 64K, 256M or 2G";
  const auto bytes = number(*value);
  const auto exponent = bytes ? binary_exponent(bytes->rest) : std::nullopt;
  if (!exponent || bytes->value == 0 || bytes->value >> (63 - *exponent) != 0) reject(variable, requirement, *value);
  result.memory = static_cast<std::size_t>(bytes->value) << *exponent;
}

Options from_environment() {
  Options result;
  read_order(result);
  read_seed(result);
  read_streams(result);
  read_memory(result);
  return result;
}

}  // namespace

Options& options() {
  static Options instance = from_environment();
  return instance;
}

}  // namespace accrue::emulator

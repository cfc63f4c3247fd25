#include "core/format_bytes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdint>

namespace accrue {

std::string format_bytes(std::size_t bytes) {
  static constexpr std::array<const char*, 5> units = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < units.size()) value /= 1024, ++unit;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::optional<std::size_t> parse_bytes(std::string_view text) {
  std::int64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc() || bytes <= 0) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (unit.empty()) return static_cast<std::size_t>(bytes);
  const std::size_t power = std::string_view("KMGT").find(unit.front()) + 1;
  const std::string_view rest = unit.substr(1);
  if (power == 0 || !(rest.empty() || rest == "B" || rest == "iB")) return std::nullopt;
  for (std::size_t i = 0; i < power; ++i)
    if (__builtin_mul_overflow(bytes, rest == "iB" ? 1024 : 1000, &bytes)) return std::nullopt;
  return static_cast<std::size_t>(bytes);
}

}  // namespace accrue

// Members of JSON objects that came from a file.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "core/check.h"

namespace accrue::train {

// The value if it is exactly a T: unlike nlohmann's get<T>(), which drops a fraction, a sign or high bits, a number
// that is no T is no value.
template <class T>
std::optional<T> json_as(const nlohmann::json& value) {
  if constexpr (std::is_integral_v<T>) {
    if (value.is_number_unsigned() && std::in_range<T>(value.get<std::uint64_t>())) return value.get<T>();
    if (value.is_number_integer() && !value.is_number_unsigned() && std::in_range<T>(value.get<std::int64_t>()))
      return value.get<T>();
    return std::nullopt;
  } else if constexpr (std::is_floating_point_v<T>) {
    // Compared in double: the conversion of what a float does not hold is undefined.
    if (!value.is_number() || std::abs(value.get<double>()) > double{std::numeric_limits<T>::max()})
      return std::nullopt;
    return static_cast<T>(value.get<double>());
  } else {
    static_assert(std::is_same_v<T, std::string>, "json_as: integers, floats, std::string");
    if (!value.is_string()) return std::nullopt;
    return value.get<T>();
  }
}

// The object's member of this name if it is there and exactly a T.
template <class T>
std::optional<T> json_value(const nlohmann::json& object, const char* key) {
  const auto member = object.find(key);
  return member == object.end() ? std::nullopt : json_as<T>(*member);
}

// The same for a member that every checkpoint has. Throws Error(bad_data) naming file and member.
template <class T>
T json_member(const nlohmann::json& object, const char* key, const std::filesystem::path& file) {
  if (const std::optional<T> value = json_value<T>(object, key)) return *value;
  fail(ErrorKind::bad_data, "{}: '{}' is missing or of the wrong type; is this a checkpoint of Accrue?", file.string(),
       key);
}

}  // namespace accrue::train

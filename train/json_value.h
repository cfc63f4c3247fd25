// Members of JSON objects that came from a file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/check.h"

namespace accrue::train {

// The object's member of this name if it is there and exactly a T: unlike nlohmann's get<T>(), which drops a fraction,
// a sign or high bits, a number that is no T is no value.
template <class T>
std::optional<T> json_value(const nlohmann::json& object, const char* key) {
  const auto member = object.find(key);
  if (member == object.end()) return std::nullopt;
  if constexpr (std::is_integral_v<T>) {
    if (member->is_number_unsigned() && std::in_range<T>(member->get<std::uint64_t>())) return member->get<T>();
    if (member->is_number_integer() && !member->is_number_unsigned() && std::in_range<T>(member->get<std::int64_t>()))
      return member->get<T>();
    return std::nullopt;
  } else {
    if (std::is_floating_point_v<T> ? !member->is_number() : !member->is_string()) return std::nullopt;
    return member->get<T>();
  }
}

// The same for a member that every checkpoint has. Throws Error(bad_data) naming file and member.
template <class T>
T json_member(const nlohmann::json& object, const char* key, const std::filesystem::path& file) {
  if (const std::optional<T> value = json_value<T>(object, key)) return *value;
  fail(ErrorKind::bad_data, "{}: '{}' is missing or of the wrong type; is this a checkpoint of Accrue?", file.string(),
       key);
}

}  // namespace accrue::train

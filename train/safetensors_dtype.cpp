#include <algorithm>
#include <array>

#include "core/check.h"
#include "train/safetensors.h"

namespace accrue::train {
namespace {

struct DTypeInfo {
  SafetensorsDType dtype;
  std::string_view name;
  std::size_t size;
};

constexpr std::array dtypes = {
    DTypeInfo{SafetensorsDType::f64, "F64", 8}, DTypeInfo{SafetensorsDType::f32, "F32", 4},
    DTypeInfo{SafetensorsDType::f16, "F16", 2}, DTypeInfo{SafetensorsDType::bf16, "BF16", 2},
    DTypeInfo{SafetensorsDType::i64, "I64", 8}, DTypeInfo{SafetensorsDType::u64, "U64", 8},
    DTypeInfo{SafetensorsDType::i32, "I32", 4}, DTypeInfo{SafetensorsDType::u32, "U32", 4},
    DTypeInfo{SafetensorsDType::i16, "I16", 2}, DTypeInfo{SafetensorsDType::i8, "I8", 1},
    DTypeInfo{SafetensorsDType::u8, "U8", 1},   DTypeInfo{SafetensorsDType::boolean, "BOOL", 1},
};

const DTypeInfo& info(SafetensorsDType dtype) { return dtypes[static_cast<std::size_t>(dtype)]; }

constexpr bool table_is_in_order() {
  for (std::size_t i = 0; i < dtypes.size(); ++i)
    if (dtypes[i].dtype != static_cast<SafetensorsDType>(i)) return false;
  return true;
}
static_assert(table_is_in_order(), "info() indexes the table by the enum");

}  // namespace

std::string_view name_of(SafetensorsDType dtype) { return info(dtype).name; }

std::size_t size_of(SafetensorsDType dtype) { return info(dtype).size; }

std::optional<SafetensorsDType> parse_safetensors_dtype(std::string_view name) {
  const auto found =
      std::find_if(dtypes.begin(), dtypes.end(), [&](const DTypeInfo& each) { return each.name == name; });
  return found == dtypes.end() ? std::nullopt : std::optional(found->dtype);
}

bool is_float(SafetensorsDType dtype) {
  using enum SafetensorsDType;
  return dtype == f64 || dtype == f32 || dtype == f16 || dtype == bf16;
}

SafetensorsDType to_safetensors_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return SafetensorsDType::f32;
    case DType::f16:
      return SafetensorsDType::f16;
    case DType::bf16:
      return SafetensorsDType::bf16;
    case DType::i32:
      return SafetensorsDType::i32;
    case DType::u8:
      return SafetensorsDType::u8;
  }
  fail(ErrorKind::internal, "to_safetensors_dtype: unknown dtype {}", static_cast<int>(dtype));
}

}  // namespace accrue::train

// Which elements of a list of ids name each row of a table, found on the device: a stable sort by id.
#pragma once

#include <string_view>

#include "kernels/cuda/launch.cuh"

namespace accrue::kernels::cuda {

// The places that hold id v, in ascending order, are places[begin[v]], …, places[end[v] - 1]. All i32.
struct SortedIds {
  Tensor places;      // [ids]
  Tensor begin, end;  // [rows]
};

// Ids outside [0, rows) are left out and reported to `sink` as faults of `thrower`. Stable and made of integer
// arithmetic alone: the result depends on the ids only. `name` is that of the operation, for messages.
SortedIds sort_ids(std::string_view name, const Tensor& ids, std::int64_t rows, FaultSink sink, std::uintptr_t thrower);

}  // namespace accrue::kernels::cuda

#include "kernels/cpu/transpose.h"

#include <gtest/gtest.h>

#include <vector>

namespace accrue::kernels::cpu {
namespace {

TEST(Transpose, MovesEveryElementAndNoOther) {
  constexpr float untouched = -1;
  for (const std::int64_t rows : {1, 3, 4, 5, 16, 17, 35})
    for (const std::int64_t cols : {1, 2, 4, 7, 16, 18, 33}) {
      const std::int64_t from_stride = cols + 2, to_stride = rows + 3;
      std::vector<float> from(static_cast<std::size_t>(rows * from_stride)),
          to(static_cast<std::size_t>(cols * to_stride), untouched);
      for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
      transpose(from.data(), from_stride, rows, cols, to.data(), to_stride);
      for (std::int64_t c = 0; c < cols; ++c)
        for (std::int64_t r = 0; r < to_stride; ++r)
          ASSERT_EQ(to[static_cast<std::size_t>(c * to_stride + r)],
                    r < rows ? static_cast<float>(r * from_stride + c) : untouched)
              << rows << " x " << cols << ", row " << r << " column " << c;
    }
}

}  // namespace
}  // namespace accrue::kernels::cpu

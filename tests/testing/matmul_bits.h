// What holds of the bits of matrix products on the CPU, in whatever precision they are.
#pragma once

#include <vector>

#include "tests/testing/reference_matmul.h"

namespace accrue::testing {

// Products that accumulate have the same bits for 1, 2, 3 and 7 threads.
void expect_same_bits_for_any_number_of_threads(const std::vector<MatmulProblem>& problems);

// Contract 12: what a sample's rows become does not depend on the micro-batch that they are in. Of products whose a is
// not transposed, with a bias; the others are passed over.
void expect_bits_of_a_row_without_the_other_rows(const std::vector<MatmulProblem>& problems);

}  // namespace accrue::testing

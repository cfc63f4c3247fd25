// The wrappers of mma.cuh against scalar products: their lane maps, which a GPU has to confirm.
#include "kernels/cuda/mma.cuh"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/testing/compare.h"
#include "tests/testing/needs_cuda.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::cuda {
namespace {

// Every lane puts its fragments together from matrices in memory, as the head of mma.cuh lays them out.
template <class T>
__global__ void multiply_matrices(float* c, const T* a, const T* b) {
  const int group = static_cast<int>(threadIdx.x) / 4, thread = static_cast<int>(threadIdx.x) % 4;
  const auto pair = [](const T* first, int step) { return pack_pair<T>(to_float(first[0]), to_float(first[step])); };
  FragmentA left;
  FragmentB right;
  FragmentC sum;
  for (int word = 0; word < 4; ++word)
    left.words[word] = pair(a + (group + word % 2 * 8) * 16 + 2 * thread + word / 2 * 8, 1);
  for (int word = 0; word < 2; ++word) right.words[word] = pair(b + (2 * thread + word * 8) * 8 + group, 8);
  for (int i = 0; i < 4; ++i) sum.v[i] = c[(group + i / 2 * 8) * 8 + 2 * thread + i % 2];
  mma_m16n8k16<T>(sum, left, right);
  for (int i = 0; i < 4; ++i) c[(group + i / 2 * 8) * 8 + 2 * thread + i % 2] = sum.v[i];
}

// Small integers: products and sums are exact in any order, and every element is one of its own.
std::vector<float> small_integers(std::int64_t count, std::uint64_t seed) {
  std::vector<float> values = testing::random_floats(count, seed, 0, 10);
  for (float& value : values) value = std::round(value);
  return values;
}

template <class T>
void expect_mma_multiplies(DType dtype) {
  if (!has_mma<T>(Tensor::zeros({1}, DType::f32, Device::cuda()), multiply_matrices<T>))
    GTEST_SKIP() << "no mma for " << name_of(dtype) << " on this device";
  const std::vector<float> a = small_integers(16 * 16, 1), b = small_integers(16 * 8, 2), c = small_integers(16 * 8, 3);
  std::vector<double> expected;
  for (std::size_t row = 0; row < 16; ++row)
    for (std::size_t column = 0; column < 8; ++column) {
      double sum = c[row * 8 + column];
      for (std::size_t k = 0; k < 16; ++k) sum += double{a[row * 16 + k]} * double{b[k * 8 + column]};
      expected.push_back(sum);
    }
  const Tensor on_device = testing::tensor_of(c, {16, 8}, DType::f32, Device::cuda());
  const Tensor left = testing::tensor_of(a, {16, 16}, dtype, Device::cuda());
  const Tensor right = testing::tensor_of(b, {16, 8}, dtype, Device::cuda());
  launch({.name = "multiply_matrices", .on = on_device, .grid = 1, .block = 32}, multiply_matrices<T>,
         elements<float>(on_device), elements<T>(left), elements<T>(right));
  EXPECT_EQ(testing::to_doubles(on_device), expected);
}

class Mma : public accrue::testing::NeedsCuda {};

TEST_F(Mma, MultipliesHalf) { expect_mma_multiplies<__half>(DType::f16); }
TEST_F(Mma, MultipliesBfloat16) { expect_mma_multiplies<__nv_bfloat16>(DType::bf16); }

enum class Load { as_it_is, transposed };

// Four matrices, row after row, through shared memory; words [4][lane].
template <Load load>
__global__ void load_matrices(std::uint32_t* words, const std::uint16_t* matrices) {
  alignas(16) __shared__ std::uint16_t rows[32 * 8];
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows[8 * lane + i] = matrices[8 * lane + i];
  __syncwarp();
  FragmentA fragment;
  if constexpr (load == Load::as_it_is)
    fragment = ldmatrix_x4(rows + 8 * lane);
  else
    fragment = ldmatrix_x4_transposed(rows + 8 * lane);
  for (int i = 0; i < 4; ++i) words[32 * i + lane] = fragment.words[i];
}

// Element (row, column) of matrix i is 64 i + 8 row + column, so a word says whence its halves came.
template <Load load>
std::vector<std::int32_t> loaded_words() {
  std::vector<std::int32_t> matrices;
  for (int i = 0; i < 256; i += 2) matrices.push_back(i | (i + 1) << 16);
  const Tensor source = Tensor::from<std::int32_t>(matrices, {128}, Device::cuda());
  const Tensor words = Tensor::zeros({4, 32}, DType::i32, Device::cuda());
  launch({.name = "load_matrices", .on = words, .grid = 1, .block = 32}, load_matrices<load>,
         elements<std::uint32_t>(words), elements<std::uint16_t>(source));
  return words.to_vector<std::int32_t>();
}

class Ldmatrix : public accrue::testing::NeedsCuda {};

TEST_F(Ldmatrix, GivesEveryLaneItsPairOfARow) {
  const std::vector<std::int32_t> words = loaded_words<Load::as_it_is>();
  for (int i = 0; i < 4; ++i)
    for (int lane = 0; lane < 32; ++lane) {
      const int first = 64 * i + 8 * (lane / 4) + 2 * (lane % 4);
      EXPECT_EQ(words[static_cast<std::size_t>(32 * i + lane)], first | (first + 1) << 16) << i << " " << lane;
    }
}

TEST_F(Ldmatrix, GivesEveryLaneItsPairOfAColumnWhenTransposed) {
  const std::vector<std::int32_t> words = loaded_words<Load::transposed>();
  for (int i = 0; i < 4; ++i)
    for (int lane = 0; lane < 32; ++lane) {
      const int first = 64 * i + 8 * (2 * (lane % 4)) + lane / 4;
      EXPECT_EQ(words[static_cast<std::size_t>(32 * i + lane)], first | (first + 8) << 16) << i << " " << lane;
    }
}

__global__ void powers_of_two(float* y, const float* x, int count) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += 32) y[i] = fast_exp2(x[i]);
}

class FastExp2 : public accrue::testing::NeedsCuda {};

TEST_F(FastExp2, HasARelativeErrorOfAtMostTwoToTheMinus22) {
  std::vector<float> x = testing::random_floats(200, 1, 0, 40);
  for (float special : {0.0f, -126.0f, -127.0f, -1000.0f, 127.5f, 128.0f}) x.push_back(special);
  x.push_back(-std::numeric_limits<float>::infinity());
  x.push_back(std::numeric_limits<float>::infinity());
  x.push_back(std::numeric_limits<float>::quiet_NaN());
  const Tensor from = testing::tensor_of(x, {static_cast<std::int64_t>(x.size())}, DType::f32, Device::cuda());
  const Tensor to = empty_like(from);
  launch({.name = "powers_of_two", .on = to, .grid = 1, .block = 32}, powers_of_two, elements<float>(to),
         elements<float>(from), static_cast<int>(x.size()));
  std::vector<double> expected;
  for (float value : x) {
    const double power = std::exp2(double{value});
    expected.push_back(power < 0x1p-126 ? 0 : power > double{std::numeric_limits<float>::max()} ? HUGE_VAL : power);
  }
  EXPECT_TRUE(testing::within(to, expected, testing::Bound{.relative = 0x1p-22}));
}

}  // namespace
}  // namespace accrue::kernels::cuda

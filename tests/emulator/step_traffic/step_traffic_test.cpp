// The bytes that a window's boundary moves, counted at every access of its kernels. Per parameter: the finite check and
// norm read the gradient (4 bytes in f32); AdamW reads gradient, m, v and master (16) and writes m, v and master (12),
// and a half compute copy (2). No pass unscales, clips or clears.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kernels/adamw.h"
#include "kernels/emulator/traffic.h"
#include "kernels/find_overflow.h"
#include "kernels/gradient_check.h"
#include "kernels/step_control.h"

namespace accrue::kernels::step_traffic_test {
namespace {

using emulator::Traffic;

// Odd, so that packs leave a rest, and beyond what fills the grids: 32 blocks of 256 threads with a pack of 4 each.
constexpr std::int64_t sizes[] = {50'021, 90'007};

// What a boundary reads besides, whatever the number of parameters: every thread of find_overflow's grid asks whether
// there is something to find, every one of adamw's whether to apply (4 bytes each), and the first thread of each block
// of adamw the step's scalars (factor, learning rate, update: 16 bytes).
constexpr std::uint64_t blocks = 32, threads = 256;
constexpr std::uint64_t grid_bytes_read = blocks * threads * 4 + blocks * (threads * 4 + 16);
// Besides that, single threads read and write fields of the state, some of them twice.
constexpr std::uint64_t record_bytes = 2 * sizeof(StepState);

// gradient_check hands one f64 a block from its first kernel to its second; a block takes this many elements while they
// are at most 1024 blocks.
constexpr std::int64_t elements_a_partial_sum = 4096;
std::uint64_t partial_sum_bytes(std::int64_t n) {
  return static_cast<std::uint64_t>((n + elements_a_partial_sum - 1) / elements_a_partial_sum) * sizeof(double);
}

const Device device = Device::cuda();

// n elements of one value, but for the last.
Tensor filled(std::int64_t n, float value, float last, DType dtype) {
  const Tensor tensor = Tensor::empty({n}, dtype, device);
  dispatch_float(dtype, "filled", [&](auto tag) {
    using T = decltype(tag);
    std::vector<T> values(static_cast<std::size_t>(n), T(value));
    values.back() = T(last);
    tensor.copy_from_host(std::span<const T>(values));
  });
  return tensor;
}
Tensor filled(std::int64_t n, float value, DType dtype = DType::f32) { return filled(n, value, value, dtype); }

struct DTypes {
  DType gradient = DType::f32, compute = DType::f32;
};

// What each kernel of one boundary has moved.
struct BoundaryTraffic {
  Traffic check, find, begin, adamw, finish;

  Traffic total() const {
    Traffic sum;
    for (const Traffic& part : {check, find, begin, adamw, finish}) {
      sum.bytes_read += part.bytes_read;
      sum.bytes_written += part.bytes_written;
    }
    return sum;
  }
};

template <class Operation>
Traffic traffic_of(void (*run)(const Operation&), const Operation& operation) {
  emulator::reset_traffic();
  run(operation);
  return emulator::traffic();
}

// The state after the optimizer and before the state is cleared.
struct Boundary {
  BoundaryTraffic traffic;
  StepState step;
};

Boundary run_boundary(std::int64_t n, const DTypes& dtypes, float last_gradient = 0.5f) {
  const Tensor state = make_step_state(device), gradient = filled(n, 0.5f, last_gradient, dtypes.gradient);
  StepState window;
  window.target_count = 8;
  write_step_state(state, window);
  const GradientSlice slice{.begin = 0, .count = n};
  const Tensor slices = Tensor::from<std::uint8_t>(
      std::span(reinterpret_cast<const std::uint8_t*>(&slice), sizeof slice), {sizeof slice}, device);
  const AdamW step{.master = filled(n, 1),
                   .m = filled(n, 0),
                   .v = filled(n, 0),
                   .compute = dtypes.compute == DType::f32 ? Tensor() : filled(n, 1, dtypes.compute),
                   .gradient = gradient,
                   .state = state,
                   .weight_decay = 0.1};
  Boundary boundary;
  boundary.traffic.check = traffic_of<GradientCheck>(cuda::gradient_check, {.state = state, .gradient = gradient});
  boundary.traffic.find =
      traffic_of<FindOverflow>(cuda::find_overflow, {.state = state, .gradient = gradient, .slices = slices});
  boundary.traffic.begin =
      traffic_of<BeginStep>(cuda::begin_step, {.state = state, .schedule = {.peak = 0.1}, .max_norm = 1});
  boundary.traffic.adamw = traffic_of<AdamW>(cuda::adamw, step);
  boundary.step = read_step_state(state);
  boundary.traffic.finish = traffic_of<FinishStep>(cuda::finish_step, {.state = state});
  // All of them did their work.
  const bool applied = std::isfinite(last_gradient);
  EXPECT_EQ(boundary.step.apply, applied ? 1 : 0);
  EXPECT_EQ(read_step_state(state).update, applied ? 1 : 0);
  EXPECT_EQ(step.master.to_vector<float>().back() == 1, !applied);
  return boundary;
}

// The bytes per parameter, exactly, and a rest that does not depend on the number of parameters.
void expect_bytes_a_parameter(const DTypes& dtypes, std::uint64_t read, std::uint64_t written) {
  SCOPED_TRACE(std::string(name_of(dtypes.gradient)) + " gradient, compute in " + std::string(name_of(dtypes.compute)));
  std::vector<Traffic> rests;
  for (const std::int64_t n : sizes) {
    const Traffic total = run_boundary(n, dtypes).traffic.total();
    const auto parameters = static_cast<std::uint64_t>(n);
    ASSERT_GE(total.bytes_read, read * parameters + partial_sum_bytes(n));
    ASSERT_GE(total.bytes_written, written * parameters + partial_sum_bytes(n));
    rests.push_back({.bytes_read = total.bytes_read - read * parameters - partial_sum_bytes(n),
                     .bytes_written = total.bytes_written - written * parameters - partial_sum_bytes(n)});
  }
  EXPECT_EQ(rests[0].bytes_read, rests[1].bytes_read);
  EXPECT_EQ(rests[0].bytes_written, rests[1].bytes_written);
  EXPECT_GE(rests[0].bytes_read, grid_bytes_read);
  EXPECT_LE(rests[0].bytes_read, grid_bytes_read + record_bytes);
  EXPECT_LE(rests[0].bytes_written, record_bytes);
}

TEST(StepTraffic, IsTwentyBytesReadAndTwelveWrittenForEachParameterInF32) {
  expect_bytes_a_parameter({.compute = DType::f32}, 20, 12);
}

TEST(StepTraffic, WritesTwoBytesMoreForEachParameterOfAHalfComputeCopy) {
  expect_bytes_a_parameter({.compute = DType::f16}, 20, 14);
  expect_bytes_a_parameter({.compute = DType::bf16}, 20, 14);
}

TEST(StepTraffic, ReadsTwoBytesLessEachTimeThatItReadsABf16Gradient) {
  expect_bytes_a_parameter({.gradient = DType::bf16, .compute = DType::f32}, 16, 12);
  expect_bytes_a_parameter({.gradient = DType::bf16, .compute = DType::bf16}, 16, 14);
}

TEST(StepTraffic, IsTheFiniteCheckAndAdamWAlone) {
  const std::int64_t n = sizes[0];
  const BoundaryTraffic traffic = run_boundary(n, {.compute = DType::bf16}).traffic;
  const auto parameters = static_cast<std::uint64_t>(n);
  EXPECT_EQ(traffic.check.bytes_read, 4 * parameters + partial_sum_bytes(n));
  EXPECT_EQ(traffic.adamw.bytes_read, 16 * parameters + blocks * (threads * 4 + 16));
  EXPECT_EQ(traffic.adamw.bytes_written, 14 * parameters) << "not one byte of the state";
  EXPECT_EQ(traffic.find.bytes_read, blocks * threads * 4) << "without an overflow there is nothing to find";
  for (const Traffic& control : {traffic.begin, traffic.finish}) EXPECT_LE(control.bytes_read, record_bytes);
  for (const Traffic& control : {traffic.find, traffic.begin, traffic.finish})
    EXPECT_LE(control.bytes_written, record_bytes);
}

TEST(StepTraffic, OfASkippedStepWritesNoByteOfTheOptimizersTensors) {
  for (const DType gradient : {DType::f32, DType::bf16}) {
    const std::int64_t n = sizes[0];
    const Boundary skipped = run_boundary(n, {.gradient = gradient, .compute = DType::bf16}, HUGE_VALF);
    EXPECT_EQ(skipped.step.found_inf, 1);
    EXPECT_EQ(skipped.step.overflowed, 0);
    EXPECT_EQ(skipped.traffic.adamw.bytes_written, 0u);
    EXPECT_EQ(skipped.traffic.adamw.bytes_read, blocks * threads * 4) << "nor does it read one";
    EXPECT_LE(skipped.traffic.total().bytes_written, record_bytes + partial_sum_bytes(n));
  }
}

TEST(StepTraffic, IsCountedUntilItIsReset) {
  const Tensor state = make_step_state(device);
  emulator::reset_traffic();
  EXPECT_EQ(emulator::traffic().bytes_read, 0u);
  const Traffic once = traffic_of<FinishStep>(cuda::finish_step, {.state = state});
  EXPECT_GT(once.bytes_read, 0u);
  EXPECT_GT(once.bytes_written, 0u);
  cuda::finish_step({.state = state});
  EXPECT_EQ(emulator::traffic().bytes_read, 2 * once.bytes_read);
  emulator::reset_traffic();
  EXPECT_EQ(emulator::traffic().bytes_written, 0u);
}

}  // namespace
}  // namespace accrue::kernels::step_traffic_test

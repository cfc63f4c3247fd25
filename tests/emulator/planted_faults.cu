// One fault a case, each with its correct twin: planted_faults CASE faulty|correct.
//
// Exit code 0: the result is right, and nothing has noticed a fault. 1: the result is wrong. 3: the launch was refused.
// Other codes are those of the emulator and the sanitizers. planted_faults_test.cpp says what must come out.
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "tests/emulator/device_array.h"

namespace accrue::emulator {
namespace {

enum class Variant { correct, faulty };

constexpr bool is(Variant variant, Variant other) { return variant == other; }
constexpr int kThreads = 256;

// Synchronisation inside of a block ---------------------------------------------------------------------------------

template <Variant variant>
__global__ void reverse_row(const float* in, float* out) {
  __shared__ float row[kThreads];
  const unsigned t = threadIdx.x;
  row[t] = in[t];
  if constexpr (is(variant, Variant::correct)) __syncthreads();
  out[t] = row[kThreads - 1 - t];
}

// The order forward alone does not show this one: whom it reads from has always run already.
template <Variant variant>
__global__ void left_neighbour(const float* in, float* out) {
  __shared__ float row[kThreads];
  const unsigned t = threadIdx.x;
  row[t] = in[t];
  if constexpr (is(variant, Variant::correct)) __syncthreads();
  out[t] = t == 0 ? in[0] : row[t - 1];
}

// The last steps of a reduction as they were written when the lanes of a warp still ran in lock-step.
template <Variant variant>
__global__ void warp_tail_sum(const float* in, float* out) {
  __shared__ float sums[kThreads];
  const unsigned t = threadIdx.x;
  sums[t] = in[t];
  __syncthreads();
  for (unsigned distance = kThreads / 2; distance > 32; distance /= 2) {
    if (t < distance) sums[t] += sums[t + distance];
    __syncthreads();
  }
  if (t >= 32) return;
  for (unsigned distance = 32; distance > 0; distance /= 2) {
    const float other = sums[t + distance];
    if constexpr (is(variant, Variant::correct)) __syncwarp();
    sums[t] += other;
    if constexpr (is(variant, Variant::correct)) __syncwarp();
  }
  if (t == 0) out[0] = sums[0];
}

template <Variant variant>
__global__ void barrier_in_branches(const float* in, float* out) {
  const unsigned t = threadIdx.x;
  if constexpr (is(variant, Variant::correct)) {
    out[t] = in[t];
    __syncthreads();
  } else if (t < 64) {
    __syncthreads();
    out[t] = in[t];
  } else {
    out[t] = in[t];
    __syncthreads();
  }
}

template <Variant variant>
__global__ void shuffle_in_branch(const float* in, float* out) {
  const unsigned t = threadIdx.x;
  const unsigned mask = is(variant, Variant::correct) ? 0xAAAAAAAAu : 0xFFFFFFFFu;
  float value = in[t];
  if (t % 2 == 1) value = __shfl_xor_sync(mask, value, 2);
  out[t] = value;
  __syncthreads();
}

template <Variant variant>
__global__ void add_neighbour(const float* in, float* out) {
  const unsigned mask = is(variant, Variant::correct) ? 0xFFFFFFFFu : 0x0000FFFFu;
  const float value = in[threadIdx.x];
  out[threadIdx.x] = value + __shfl_xor_sync(mask, value, 1);
}

// Memory -------------------------------------------------------------------------------------------------------------

template <Variant variant>
__global__ void accumulate_in_static_shared(const float* in, float* out) {
  __shared__ float sum;
  if constexpr (is(variant, Variant::correct)) {
    if (threadIdx.x == 0) sum = 0;
    __syncthreads();
  }
  if (threadIdx.x == 1) sum += in[1];
  __syncthreads();
  out[threadIdx.x] = sum;
}

template <Variant variant>
__global__ void accumulate_in_dynamic_shared(const float* in, float* out) {
  auto* sum = static_cast<float*>(dynamic_shared());
  if constexpr (is(variant, Variant::correct)) {
    if (threadIdx.x == 0) *sum = 0;
    __syncthreads();
  }
  if (threadIdx.x == 1) *sum += in[1];
  __syncthreads();
  out[threadIdx.x] = *sum;
}

template <Variant variant>
__global__ void sum_of_blocks(const float* in, float* out) {
  const float value = in[blockIdx.x * blockDim.x + threadIdx.x];
  if constexpr (is(variant, Variant::correct)) {
    atomicAdd(out, value);
  } else {
    *out += value;
  }
}

template <Variant variant>
__global__ void load_vector(const float* in, float* out) {
  constexpr int kFirst = is(variant, Variant::correct) ? 4 : 1;
  const float4 vector = *reinterpret_cast<const float4*>(in + kFirst);
  if (threadIdx.x == 0) out[0] = is(variant, Variant::correct) ? vector.x : vector.w;  // in[4]
}

__global__ void twice(const float* in, float* out) { out[threadIdx.x] = 2 * in[threadIdx.x]; }

template <Variant variant>
__global__ void fill_static_shared(const float* in, float* out) {
  __shared__ float row[kThreads];
  const unsigned t = threadIdx.x;
  const unsigned shift = is(variant, Variant::correct) ? 0 : in[t] > 0;  // not for the compiler to see
  row[t + shift] = in[t];
  __syncthreads();
  out[t] = row[t + shift];
}

__global__ void fill_dynamic_shared(const float* in, float* out, int elements) {
  auto* row = static_cast<float*>(dynamic_shared());
  for (int i = static_cast<int>(threadIdx.x); i < elements; i += kThreads) row[i] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = row[threadIdx.x];
}

__global__ void copy(const float* in, float* out, int elements) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < elements) out[i] = in[i];
}

template <Variant variant>
__global__ void copy_through_shared(const float* in, float* out) {
  __shared__ float row[kThreads];
  const unsigned t = threadIdx.x;
  copy_async(&row[t], &in[t], sizeof(float), Location::current());
  copy_async_commit();
  if constexpr (is(variant, Variant::correct)) copy_async_wait(0);
  out[t] = row[t];
}

// The cases ----------------------------------------------------------------------------------------------------------

std::vector<float> numbers() {
  std::vector<float> values(kThreads);
  for (int i = 0; i < kThreads; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i % 7 + 1);
  return values;
}

using Row = std::vector<float>;
using Kernel = void (*)(const float*, float*);

[[noreturn]] void refuse(cudaError_t error) {
  std::printf("launch error: %s\n", cudaGetErrorName(error));
  std::exit(3);
}

void require(cudaError_t error) {
  if (error != cudaSuccess) refuse(error);
}

struct LaunchShape {
  unsigned blocks = 1, threads = kThreads;
  std::size_t dynamic_shared_bytes = 0;
  cudaStream_t stream = nullptr;
};

void start(Kernel kernel, const float* in, float* out, const LaunchShape& shape = {}) {
  require(launch("planted", kernel, dim3(shape.blocks), dim3(shape.threads), shape.dynamic_shared_bytes, shape.stream,
                 in, out));
}

// The row that the kernel makes of numbers().
Row result_of(Kernel kernel, const LaunchShape& shape = {}) {
  const DeviceArray<float> in(numbers()), out(Row(kThreads, 0.0f));
  start(kernel, in.data(), out.data(), shape);
  return out.to_host();
}

Row first(float value) {
  Row row(kThreads, 0.0f);
  row[0] = value;
  return row;
}

float total() {
  float sum = 0;
  for (const float value : numbers()) sum += value;
  return sum;
}

// expected(i) for each i.
template <class Function>
Row each(Function expected) {
  Row row(kThreads);
  for (int i = 0; i < kThreads; ++i) row[static_cast<std::size_t>(i)] = expected(static_cast<std::size_t>(i));
  return row;
}

struct Comparison {
  Row actual, expected;
};

template <Variant variant>
Comparison host_pointer() {
  const Row in = numbers();
  const DeviceArray<float> device(in), out(Row(kThreads, 0.0f));
  start(twice, is(variant, Variant::correct) ? device.data() : in.data(), out.data());
  return {out.to_host(), each([&](std::size_t i) { return 2 * in[i]; })};
}

template <Variant variant>
Comparison wild_pointer() {
  const DeviceArray<float> in(numbers()), out(Row(kThreads, 0.0f));
  auto* nowhere = reinterpret_cast<const float*>(std::uintptr_t{64});
  start(twice, is(variant, Variant::correct) ? in.data() : nowhere, out.data());
  return {out.to_host(), each([&](std::size_t i) { return 2 * numbers()[i]; })};
}

template <Variant variant>
Comparison dynamic_shared_overflow() {
  const DeviceArray<float> in(numbers()), out(Row(kThreads, 0.0f));
  const int elements = kThreads + (is(variant, Variant::correct) ? 0 : 1);
  require(launch("fill_dynamic_shared", fill_dynamic_shared, dim3(1), dim3(kThreads), kThreads * sizeof(float), nullptr,
                 in.data(), out.data(), elements));
  return {out.to_host(), numbers()};
}

template <Variant variant>
Comparison global_overflow() {
  const DeviceArray<float> in(numbers()), out(Row(kThreads, 0.0f));
  const int elements = kThreads + (is(variant, Variant::correct) ? 0 : 1);
  require(launch("copy", copy, dim3(2), dim3(kThreads), 0, nullptr, in.data(), out.data(), elements));
  return {out.to_host(), numbers()};
}

template <Variant variant>
Comparison use_after_free() {
  const DeviceArray<float> out(Row(kThreads, 0.0f));
  float* in = nullptr;
  require(cudaMalloc(&in, kThreads * sizeof(float)));
  require(cudaMemcpy(in, numbers().data(), kThreads * sizeof(float), cudaMemcpyHostToDevice));
  if constexpr (is(variant, Variant::faulty)) require(cudaFree(in));
  start(twice, in, out.data());
  const Row actual = out.to_host();
  if constexpr (is(variant, Variant::correct)) require(cudaFree(in));
  return {actual, each([](std::size_t i) { return 2 * numbers()[i]; })};
}

// Streams ------------------------------------------------------------------------------------------------------------

template <Variant variant>
Comparison read_before_synchronising() {
  const DeviceArray<float> in(numbers()), out(Row(kThreads, 0.0f));
  const PinnedArray<float> result(kThreads);
  const Stream stream;
  start(twice, in.data(), out.data(), {.stream = stream.get()});
  require(cudaMemcpyAsync(result.data(), out.data(), result.bytes(), cudaMemcpyDeviceToHost, stream.get()));
  if constexpr (is(variant, Variant::correct)) require(cudaStreamSynchronize(stream.get()));
  const Comparison comparison = {result.to_vector(), each([](std::size_t i) { return 2 * numbers()[i]; })};
  require(cudaStreamSynchronize(stream.get()));
  return comparison;
}

template <Variant variant>
Comparison streams_without_event() {
  const DeviceArray<float> in(numbers()), middle(Row(kThreads, 0.0f)), out(Row(kThreads, 0.0f));
  const Stream producer, consumer;
  const Event done;
  start(twice, in.data(), middle.data(), {.stream = producer.get()});
  require(cudaEventRecord(done.get(), producer.get()));
  if constexpr (is(variant, Variant::correct)) require(cudaStreamWaitEvent(consumer.get(), done.get(), 0));
  start(twice, middle.data(), out.data(), {.stream = consumer.get()});
  require(cudaStreamSynchronize(consumer.get()));
  return {out.to_host(), each([](std::size_t i) { return 4 * numbers()[i]; })};
}

template <Variant variant>
Comparison source_changed_too_early() {
  const DeviceArray<float> in(Row(kThreads, 0.0f)), out(Row(kThreads, 0.0f));
  const PinnedArray<float> source(kThreads);
  const Stream stream;
  source.copy_from(numbers());
  require(cudaMemcpyAsync(in.data(), source.data(), source.bytes(), cudaMemcpyHostToDevice, stream.get()));
  if constexpr (is(variant, Variant::correct)) require(cudaStreamSynchronize(stream.get()));
  source.copy_from(Row(kThreads, -1.0f));
  start(twice, in.data(), out.data(), {.stream = stream.get()});
  require(cudaStreamSynchronize(stream.get()));
  return {out.to_host(), each([](std::size_t i) { return 2 * numbers()[i]; })};
}

struct Case {
  const char* name;
  std::function<Comparison()> correct, faulty;
};

// A case whose two variants are kernels that must give the same row.
Case kernels(const char* name, Kernel correct, Kernel faulty, const Row& expected, const LaunchShape& shape = {}) {
  return {name,
          [=] {
            return Comparison{result_of(correct, shape), expected};
          },
          [=] {
            return Comparison{result_of(faulty, shape), expected};
          }};
}

// A case whose two variants are launches of one kernel.
Case launches(const char* name, const LaunchShape& correct, const LaunchShape& faulty) {
  const Row expected = each([](std::size_t i) { return 2 * numbers()[i]; });
  return {name,
          [=] {
            return Comparison{result_of(twice, correct), expected};
          },
          [=] {
            return Comparison{result_of(twice, faulty), expected};
          }};
}

#define BOTH_KERNELS(kernel) kernel<Variant::correct>, kernel<Variant::faulty>
#define BOTH_FUNCTIONS(function) #function, function < Variant::correct>, function < Variant::faulty>

std::vector<Case> cases() {
  const Row in = numbers();
  const Row reversed(in.rbegin(), in.rend());
  const Row shifted = each([&](std::size_t i) { return in[i == 0 ? 0 : i - 1]; });
  const Row odd_swapped = each([&](std::size_t i) { return i % 2 == 1 ? in[i ^ 2] : in[i]; });
  const Row pair_sums = each([&](std::size_t i) { return in[i] + in[i ^ 1]; });
  return {
      kernels("missing_barrier", BOTH_KERNELS(reverse_row), reversed),
      kernels("missing_barrier_before_left_neighbour", BOTH_KERNELS(left_neighbour), shifted),
      kernels("missing_syncwarp", BOTH_KERNELS(warp_tail_sum), first(total())),
      kernels("divergent_barrier", BOTH_KERNELS(barrier_in_branches), in),
      kernels("divergent_shuffle", BOTH_KERNELS(shuffle_in_branch), odd_swapped),
      kernels("wrong_mask", BOTH_KERNELS(add_neighbour), pair_sums),
      kernels("uninitialised_static_shared", BOTH_KERNELS(accumulate_in_static_shared), Row(kThreads, in[1])),
      kernels("uninitialised_dynamic_shared", BOTH_KERNELS(accumulate_in_dynamic_shared), Row(kThreads, in[1]),
              {.dynamic_shared_bytes = sizeof(float)}),
      kernels("missing_copy_wait", BOTH_KERNELS(copy_through_shared), in),
      kernels("lost_update", BOTH_KERNELS(sum_of_blocks), first(total()), {.blocks = 8, .threads = kThreads / 8}),
      kernels("misaligned_vector", BOTH_KERNELS(load_vector), first(in[4])),
      {BOTH_FUNCTIONS(host_pointer)},
      {BOTH_FUNCTIONS(wild_pointer)},
      kernels("static_shared_overflow", BOTH_KERNELS(fill_static_shared), in),
      {BOTH_FUNCTIONS(dynamic_shared_overflow)},
      {BOTH_FUNCTIONS(global_overflow)},
      {BOTH_FUNCTIONS(use_after_free)},
      {BOTH_FUNCTIONS(read_before_synchronising)},
      {BOTH_FUNCTIONS(streams_without_event)},
      {BOTH_FUNCTIONS(source_changed_too_early)},
      launches("too_much_shared_memory", {.dynamic_shared_bytes = 48 * 1024}, {.dynamic_shared_bytes = 48 * 1024 + 1}),
      launches("too_many_threads", {}, {.threads = 1025}),
  };
}

int run(const std::function<Comparison()>& function) {
  const Comparison comparison = function();
  for (std::size_t i = 0; i < comparison.expected.size(); ++i) {
    const float actual = comparison.actual[i], expected = comparison.expected[i];
    if (actual == expected) continue;  // small whole numbers: sums of them are exact
    std::printf("wrong result: element %zu is %g, not %g\n", i, static_cast<double>(actual),
                static_cast<double>(expected));
    return 1;
  }
  std::puts("the result is right");
  return 0;
}

}  // namespace
}  // namespace accrue::emulator

int main(int count, char** arguments) {
  const std::string name = count == 3 ? arguments[1] : "", variant = count == 3 ? arguments[2] : "";
  for (const auto& planted : accrue::emulator::cases()) {
    if (planted.name != name) continue;
    if (variant == "correct") return accrue::emulator::run(planted.correct);
    if (variant == "faulty") return accrue::emulator::run(planted.faulty);
  }
  std::fprintf(stderr, "planted_faults CASE faulty|correct; cases:\n");
  for (const auto& planted : accrue::emulator::cases()) std::fprintf(stderr, "  %s\n", planted.name);
  return 2;
}

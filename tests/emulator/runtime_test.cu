// The runtime: memory, copies, streams, events, graphs, and what a launch refuses.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/emulator/kernel_run.h"

namespace accrue::emulator {
namespace {

__global__ void add(float* values, float increment) { values[threadIdx.x] += increment; }

void add_in(cudaStream_t stream, float* values, float increment) {
  ASSERT_EQ(launch("add", add, dim3(1), dim3(4), 0, stream, values, increment), cudaSuccess);
}

class EmulatedRuntime : public ::testing::TestWithParam<Streams> {
 protected:
  EmulatedRuntime() { options().streams = GetParam(); }
  ~EmulatedRuntime() override { cudaGetLastError(); }
  const OptionsGuard guard_;
};

INSTANTIATE_TEST_SUITE_P(Streams, EmulatedRuntime, ::testing::Values(Streams::eager, Streams::lazy),
                         [](const auto& test) { return test.param == Streams::eager ? "Eager" : "Lazy"; });

TEST_P(EmulatedRuntime, MemoryIsPoisonedCountedAndLimited) {
  options().memory = 1000;
  std::size_t free_bytes = 0, total_bytes = 0;
  {
    const DeviceArray<float> values(100);
    for (const float value : values.to_host()) EXPECT_TRUE(std::isnan(value));
    ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
    EXPECT_EQ(free_bytes, 600u);
    EXPECT_EQ(total_bytes, 1000u);
    void* more = nullptr;
    EXPECT_EQ(cudaMalloc(&more, 601), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaErrorMemoryAllocation);
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
  }
  ASSERT_EQ(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
  EXPECT_EQ(free_bytes, 1000u);
}

TEST_P(EmulatedRuntime, FreeingWhatIsNoBlockIsAnError) {
  const DeviceArray<float> values(4);
  float host = 0;
  EXPECT_EQ(cudaFree(values.data() + 1), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(&host), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFreeHost(values.data()), cudaErrorInvalidValue);
  EXPECT_EQ(cudaFree(nullptr), cudaSuccess);
}

TEST_P(EmulatedRuntime, PointersSayWhatTheyPointTo) {
  const DeviceArray<float> device(4);
  const PinnedArray<float> pinned(4);
  float host = 0;
  cudaPointerAttributes attributes{};
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, device.data() + 3), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeDevice);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, pinned.data()), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeHost);
  ASSERT_EQ(cudaPointerGetAttributes(&attributes, &host), cudaSuccess);
  EXPECT_EQ(attributes.type, cudaMemoryTypeUnregistered);
}

TEST_P(EmulatedRuntime, KernelsMayUsePinnedMemory) {
  const PinnedArray<float> pinned(4);
  pinned.copy_from({1, 2, 3, 4});
  void* device = nullptr;
  ASSERT_EQ(cudaHostGetDevicePointer(&device, pinned.data(), 0), cudaSuccess);
  add_in(nullptr, static_cast<float*>(device), 10);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(pinned.to_vector(), (std::vector<float>{11, 12, 13, 14}));
}

TEST_P(EmulatedRuntime, PageableSourcesAreReadAtTheCall) {
  const DeviceArray<float> device(4);
  const Stream stream;
  std::vector<float> source = {1, 2, 3, 4};
  ASSERT_EQ(cudaMemcpyAsync(device.data(), source.data(), 16, cudaMemcpyHostToDevice, stream.get()), cudaSuccess);
  source.assign(4, 0.0f);
  ASSERT_EQ(cudaStreamSynchronize(stream.get()), cudaSuccess);
  EXPECT_EQ(device.to_host(), (std::vector<float>{1, 2, 3, 4}));
}

TEST_P(EmulatedRuntime, PageableDestinationsAreCompleteWhenTheCallReturns) {
  const DeviceArray<float> device(std::vector<float>{1, 2, 3, 4});
  const Stream stream;
  add_in(stream.get(), device.data(), 1);
  std::vector<float> out(4);
  const std::uint64_t before = synchronisation_count();
  ASSERT_EQ(cudaMemcpyAsync(out.data(), device.data(), 16, cudaMemcpyDeviceToHost, stream.get()), cudaSuccess);
  EXPECT_EQ(out, (std::vector<float>{2, 3, 4, 5}));
  EXPECT_EQ(synchronisation_count(), before + 1);
}

TEST_P(EmulatedRuntime, CopiesInAWrongDirectionAreRefused) {
  const DeviceArray<float> device(4);
  std::vector<float> host(4);
  EXPECT_EQ(cudaMemcpy(host.data(), device.data(), 16, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(device.data(), host.data(), 16, cudaMemcpyDeviceToDevice), cudaErrorInvalidValue);
  EXPECT_EQ(cudaMemcpy(device.data(), host.data(), 16, cudaMemcpyDefault), cudaSuccess);
}

TEST_P(EmulatedRuntime, MemsetFillsBytes) {
  const DeviceArray<unsigned> device(4);
  ASSERT_EQ(cudaMemset(device.data(), 0x5A, 8), cudaSuccess);
  EXPECT_EQ(device.to_host(), (std::vector<unsigned>{0x5A5A5A5Au, 0x5A5A5A5Au, ~0u, ~0u}));
}

TEST_P(EmulatedRuntime, TheDefaultStreamIsOrderedWithBlockingStreams) {
  const DeviceArray<float> device(std::vector<float>(4, 0.0f));
  const Stream blocking(cudaStreamDefault);
  add_in(blocking.get(), device.data(), 1);
  ASSERT_EQ(cudaMemsetAsync(device.data(), 0, device.bytes(), nullptr), cudaSuccess);
  add_in(blocking.get(), device.data(), 2);
  EXPECT_EQ(device.to_host(), std::vector<float>(4, 2.0f));
}

TEST_P(EmulatedRuntime, StreamsWaitForEventsAsTheyWereRecorded) {
  const DeviceArray<float> device(std::vector<float>(4, 0.0f));
  const PinnedArray<float> seen(4);
  const Stream first, second;
  const Event event;
  add_in(first.get(), device.data(), 1);
  ASSERT_EQ(cudaEventRecord(event.get(), first.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(second.get(), event.get(), 0), cudaSuccess);
  ASSERT_EQ(cudaMemcpyAsync(seen.data(), device.data(), 16, cudaMemcpyDeviceToHost, second.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(second.get()), cudaSuccess);
  EXPECT_EQ(seen.to_vector(), std::vector<float>(4, 1.0f));
}

TEST_P(EmulatedRuntime, QueriesMakeProgress) {
  const DeviceArray<float> device(std::vector<float>(4, 0.0f));
  const Stream stream;
  const Event event;
  for (int i = 0; i < 3; ++i) add_in(stream.get(), device.data(), 1);
  ASSERT_EQ(cudaEventRecord(event.get(), stream.get()), cudaSuccess);
  int not_ready = 0;
  while (cudaEventQuery(event.get()) == cudaErrorNotReady) ++not_ready;
  EXPECT_EQ(not_ready, GetParam() == Streams::lazy ? 3 : 0);
  EXPECT_EQ(cudaStreamQuery(stream.get()), cudaSuccess);
  EXPECT_EQ(device.to_host(), std::vector<float>(4, 3.0f));
}

TEST_P(EmulatedRuntime, EventsMeasureTime) {
  const Event start, end;
  float milliseconds = -1;
  EXPECT_EQ(cudaEventElapsedTime(&milliseconds, start.get(), end.get()), cudaErrorInvalidResourceHandle);
  ASSERT_EQ(cudaEventRecord(start.get()), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(end.get()), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(end.get()), cudaSuccess);
  ASSERT_EQ(cudaEventElapsedTime(&milliseconds, start.get(), end.get()), cudaSuccess);
  EXPECT_GE(milliseconds, 0.0f);
}

TEST_P(EmulatedRuntime, FreeingAsynchronouslyComesAfterTheWorkOfTheStream) {
  const Stream stream;
  const PinnedArray<float> seen(4);
  float* values = nullptr;
  ASSERT_EQ(cudaMallocAsync(&values, 16, stream.get()), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(values, 0, 16, stream.get()), cudaSuccess);
  add_in(stream.get(), values, 3);
  ASSERT_EQ(cudaMemcpyAsync(seen.data(), values, 16, cudaMemcpyDeviceToHost, stream.get()), cudaSuccess);
  ASSERT_EQ(cudaFreeAsync(values, stream.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream.get()), cudaSuccess);
  EXPECT_EQ(seen.to_vector(), std::vector<float>(4, 3.0f));
}

TEST_P(EmulatedRuntime, CountsWhatMakesTheHostWait) {
  const DeviceArray<float> device(std::vector<float>(4, 0.0f));
  const Stream stream;
  const Event event;
  const std::uint64_t before = synchronisation_count(), launches = launch_count();
  add_in(stream.get(), device.data(), 1);
  ASSERT_EQ(cudaEventRecord(event.get(), stream.get()), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(device.data(), 0, 16, stream.get()), cudaSuccess);
  cudaStreamQuery(stream.get());
  EXPECT_EQ(synchronisation_count(), before);
  ASSERT_EQ(cudaStreamSynchronize(stream.get()), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(event.get()), cudaSuccess);
  ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
  EXPECT_EQ(synchronisation_count(), before + 3);
  device.to_host();
  EXPECT_EQ(synchronisation_count(), before + 4);
  EXPECT_EQ(launch_count(), launches + 1);
}

// Graphs -------------------------------------------------------------------------------------------------------------

TEST_P(EmulatedRuntime, GraphsRepeatWhatWasCaptured) {
  const DeviceArray<float> device(std::vector<float>(4, 0.0f));
  const Stream stream, branch;
  const Event fork, join;
  ASSERT_EQ(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), cudaSuccess);
  for (float increment = 1; increment <= 2; ++increment) add_in(stream.get(), device.data(), increment);
  ASSERT_EQ(cudaEventRecord(fork.get(), stream.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(branch.get(), fork.get(), 0), cudaSuccess);
  add_in(branch.get(), device.data(), 4);
  ASSERT_EQ(cudaEventRecord(join.get(), branch.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(stream.get(), join.get(), 0), cudaSuccess);
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamEndCapture(stream.get(), &graph), cudaSuccess);
  std::size_t nodes = 0;
  EXPECT_EQ(cudaGraphGetNodes(graph, nullptr, &nodes), cudaSuccess);
  EXPECT_EQ(nodes, 3u);
  EXPECT_EQ(device.to_host(), std::vector<float>(4, 0.0f)) << "capturing runs nothing";

  cudaGraphExec_t executable = nullptr;
  ASSERT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(cudaGraphLaunch(executable, stream.get()), cudaSuccess);
  ASSERT_EQ(cudaGraphExecDestroy(executable), cudaSuccess);
  ASSERT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream.get()), cudaSuccess);
  EXPECT_EQ(device.to_host(), std::vector<float>(4, 21.0f));
}

TEST_P(EmulatedRuntime, CaptureForbidsWhatItCannotRecord) {
  const Stream stream, other;
  cudaGraph_t graph = nullptr;
  void* memory = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaStreamSynchronize(stream.get()), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(stream.get(), &graph), cudaErrorStreamCaptureInvalidated);
  ASSERT_EQ(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaErrorStreamCaptureUnsupported);
  EXPECT_EQ(cudaStreamEndCapture(stream.get(), &graph), cudaErrorStreamCaptureInvalidated);
  ASSERT_EQ(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed), cudaSuccess);
  EXPECT_EQ(cudaMalloc(&memory, 4), cudaSuccess);
  EXPECT_EQ(cudaFree(memory), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(stream.get(), &graph), cudaSuccess);
  EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  EXPECT_EQ(cudaStreamEndCapture(other.get(), &graph), cudaErrorIllegalState);
}

TEST_P(EmulatedRuntime, CaptureMustJoinItsBranches) {
  const DeviceArray<float> device(std::vector<float>(4, 0.0f));
  const Stream stream, branch;
  const Event fork;
  cudaGraph_t graph = nullptr;
  ASSERT_EQ(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeGlobal), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(fork.get(), stream.get()), cudaSuccess);
  ASSERT_EQ(cudaStreamWaitEvent(branch.get(), fork.get(), 0), cudaSuccess);
  add_in(branch.get(), device.data(), 1);
  EXPECT_EQ(cudaStreamEndCapture(stream.get(), &graph), cudaErrorStreamCaptureUnjoined);
  EXPECT_EQ(graph, nullptr);
}

// Launches -----------------------------------------------------------------------------------------------------------

TEST_P(EmulatedRuntime, LaunchesBeyondTheLimitsAreRefused) {
  const DeviceArray<float> device(std::vector<float>(1024, 0.0f));
  const auto attempt = [&](dim3 grid, dim3 block, std::size_t shared) {
    const cudaError_t error = launch("add", add, grid, block, shared, nullptr, device.data(), 1.0f);
    EXPECT_EQ(cudaGetLastError(), error);
    return error;
  };
  EXPECT_EQ(attempt(dim3(1), dim3(1024), 0), cudaSuccess);
  EXPECT_EQ(attempt(dim3(1), dim3(1025), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(attempt(dim3(1), dim3(32, 33), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(attempt(dim3(1), dim3(1, 1, 65), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(attempt(dim3(1), dim3(0), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(attempt(dim3(0), dim3(1), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(attempt(dim3(1, 65536), dim3(1), 0), cudaErrorInvalidConfiguration);
  EXPECT_EQ(attempt(dim3(1), dim3(1), 48 * 1024 + 1), cudaErrorInvalidValue);
}

__global__ void big_shared(float* out) {
  auto* bytes = static_cast<char*>(dynamic_shared());
  bytes[227 * 1024 - 1] = 1;
  out[0] = 1;
}

TEST_P(EmulatedRuntime, KernelsMayAskForMoreSharedMemory) {
  EXPECT_EQ(cudaFuncSetAttribute(big_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024 + 1),
            cudaErrorInvalidValue);
  ASSERT_EQ(cudaFuncSetAttribute(big_shared, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 * 1024), cudaSuccess);
  EXPECT_EQ(output_of(big_shared, {dim3(1), dim3(1), 227 * 1024}, 1, 0.0f), std::vector<float>{1});
}

TEST_P(EmulatedRuntime, OccupancyFollowsThreadsAndSharedMemory) {
  int blocks = 0;
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 256, 0), cudaSuccess);
  EXPECT_EQ(blocks, 8);
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 32, 0), cudaSuccess);
  EXPECT_EQ(blocks, 32);
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 32, 40 * 1024), cudaSuccess);
  EXPECT_EQ(blocks, 5);
  ASSERT_EQ(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, add, 32, 60 * 1024), cudaSuccess);
  EXPECT_EQ(blocks, 0) << "more than the kernel may have";
}

TEST_P(EmulatedRuntime, TheDeviceDescribesItself) {
  cudaDeviceProp properties{};
  ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
  EXPECT_STREQ(properties.name, "Accrue emulated device");
  EXPECT_EQ(properties.major, 9);
  EXPECT_EQ(properties.multiProcessorCount, 4);
  EXPECT_EQ(properties.totalGlobalMem, options().memory);
  int value = 0;
  ASSERT_EQ(cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0), cudaSuccess);
  EXPECT_EQ(value, 227 * 1024);
  EXPECT_EQ(cudaGetDeviceProperties(&properties, 1), cudaErrorInvalidDevice);
  EXPECT_EQ(cudaSetDevice(1), cudaErrorInvalidDevice);
  EXPECT_STREQ(cudaGetErrorName(cudaErrorInvalidDevice), "cudaErrorInvalidDevice");
  EXPECT_STREQ(cudaGetErrorString(cudaErrorInvalidDevice), "invalid device ordinal");
}

}  // namespace
}  // namespace accrue::emulator

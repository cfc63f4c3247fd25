#include "core/cuda/device.cuh"

#include <algorithm>
#include <cstring>

#include "core/cuda/check.cuh"
#include "core/cuda/event.cuh"
#include "core/cuda/readback.cuh"
#include "core/cuda/stopwatch.cuh"
#include "core/cuda/timeline.cuh"
#include "core/format_bytes.h"

namespace accrue::cuda {

CudaDevice::CudaDevice(int index) : index_(index) {
  check(cudaSetDevice(index), "cudaSetDevice({})", index);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags on cuda:{}", index);
  check(cudaStreamCreateWithFlags(&copy_stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags on cuda:{}", index);
  check(cudaEventCreateWithFlags(&data_released_, cudaEventDisableTiming), "cudaEventCreateWithFlags on cuda:{}",
        index);
  computed_staging_.stream = stream_;
  data_staging_.stream = copy_stream_;
  check(cudaMalloc(reinterpret_cast<void**>(&claimed_), sizeof *claimed_), "cudaMalloc of a flag on cuda:{}", index);
  check(cudaMemsetAsync(claimed_, 0, sizeof *claimed_, stream_), "cudaMemsetAsync of a flag on cuda:{}", index);
  // With unified addressing, which every 64-bit system has, the pointer is the same on host and device.
  check(cudaHostAlloc(reinterpret_cast<void**>(&record_), sizeof *record_, cudaHostAllocMapped),
        "cudaHostAlloc of the fault record of cuda:{}", index);
  *record_ = {};
}

void CudaDevice::activate() const {
  // Not remembered: the program around us may change it, too.
  check(cudaSetDevice(index_), "cudaSetDevice({})", index_);
}

std::string CudaDevice::description() const {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index_), "cudaGetDeviceProperties of cuda:{}", index_);
  return fmt::format("{}, compute capability {}.{}, {}", properties.name, properties.major, properties.minor,
                     format_bytes(properties.totalGlobalMem));
}

void CudaDevice::synchronize() {
  activate();
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize on cuda:{}", index_);
  throw_fault();
}

void* CudaDevice::allocate(std::size_t bytes) {
  activate();
  void* pointer = nullptr;
  const cudaError_t error = cudaMalloc(&pointer, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(error, "cudaMalloc of {} bytes on cuda:{}", bytes, index_);
  return pointer;
}

// cudaFree waits for the work that may still use the memory. It fails only when the device is lost, which the next
// call reports.
void CudaDevice::release(void* pointer, std::size_t) noexcept { cudaFree(pointer); }

std::size_t CudaDevice::available() const {
  activate();
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo on cuda:{}", index_);
  return free;
}

bool CudaDevice::host_addressable() const {
#ifdef ACCRUE_CUDA_EMULATED
  // Poisoning happens when the host asks for it: kernels that lazy streams run later would meet it too early.
  return emulator::options().streams == emulator::Streams::eager;
#else
  return false;
#endif
}

void CudaDevice::fill(void* destination, int byte, std::size_t bytes) {
  activate();
  if (bytes == 0) return;
  check(cudaMemsetAsync(destination, byte, bytes, stream_), "cudaMemsetAsync of {} bytes on cuda:{}", bytes, index_);
}

void CudaDevice::copy(void* destination, const void* source, std::size_t bytes) {
  activate();
  if (bytes == 0) return;
  check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToDevice, stream_),
        "cudaMemcpyAsync of {} bytes on cuda:{}", bytes, index_);
}

// The buffer behind the one that is full: the next in the ring where its copies have been made, else a new one there.
// Only with a ring as large as it may become does the host wait for the device: it is 64 MiB of copies ahead then.
void CudaDevice::turn(StagingRing& ring) {
  ring.next = (ring.next + 1) % ring.buffers.size();
  ring.used = 0;
  const Staging& oldest = ring.buffers[ring.next];
  if (oldest.buffer == nullptr || has_passed(oldest.copied)) return;
  if (ring.buffers.size() < most_staging_buffers)
    ring.buffers.insert(ring.buffers.begin() + static_cast<std::ptrdiff_t>(ring.next), Staging());
  else
    wait_for(oldest.copied);
}

// Copies fill a buffer one after the other.
CudaDevice::Staging& CudaDevice::staging_for(std::size_t bytes, StagingRing& ring) {
  if (staging_bytes - ring.used < bytes) turn(ring);
  Staging& staging = ring.buffers[ring.next];
  if (staging.buffer == nullptr) {
    check(cudaHostAlloc(reinterpret_cast<void**>(&staging.buffer), staging_bytes, cudaHostAllocDefault),
          "cudaHostAlloc of {} bytes of pinned memory", staging_bytes);
    check(cudaEventCreateWithFlags(&staging.copied, cudaEventDisableTiming), "cudaEventCreateWithFlags on cuda:{}",
          index_);
  }
  return staging;
}

void CudaDevice::stage(void* destination, const void* source, std::size_t bytes, StagingRing& ring) {
  constexpr std::size_t alignment = 256;  // what copies are fast from
  auto* to = static_cast<std::byte*>(destination);
  const auto* from = static_cast<const std::byte*>(source);
  for (std::size_t done = 0; done < bytes; done += staging_bytes) {
    const std::size_t count = std::min(staging_bytes, bytes - done);
    const Staging& staging = staging_for(count, ring);
    std::byte* place = staging.buffer + ring.used;
    ring.used = std::min(staging_bytes, (ring.used + count + alignment - 1) / alignment * alignment);
    std::memcpy(place, from + done, count);
    check(cudaMemcpyAsync(to + done, place, count, cudaMemcpyHostToDevice, ring.stream),
          "cudaMemcpyAsync of {} bytes to cuda:{}", count, index_);
    check(cudaEventRecord(staging.copied, ring.stream), "cudaEventRecord on cuda:{}", index_);
  }
}

void CudaDevice::copy_from_host(void* destination, const void* source, std::size_t bytes) {
  activate();
  const std::lock_guard lock(staging_mutex_);
  stage(destination, source, bytes, computed_staging_);
}

void CudaDevice::upload(void* destination, const void* source, std::size_t bytes) {
  activate();
  if (bytes == 0) return;
  const std::lock_guard lock(staging_mutex_);
  check(cudaStreamWaitEvent(copy_stream_, data_released_, 0), "cudaStreamWaitEvent on cuda:{}", index_);
  stage(destination, source, bytes, data_staging_);
  check(cudaStreamWaitEvent(stream_, data_staging_.buffers[data_staging_.next].copied, 0),
        "cudaStreamWaitEvent on cuda:{}", index_);
}

std::unique_ptr<Readback> CudaDevice::readback(std::size_t bytes) {
  return std::make_unique<PinnedReadback>(*this, bytes);
}

std::unique_ptr<Stopwatch> CudaDevice::stopwatch() { return std::make_unique<EventStopwatch>(*this); }
std::unique_ptr<Timeline> CudaDevice::timeline() { return std::make_unique<EventTimeline>(*this); }

// Recording fails only when the device is lost, which the next call reports.
void CudaDevice::data_released() noexcept { cudaEventRecord(data_released_, stream_); }

void CudaDevice::copy_to_host(void* destination, const void* source, std::size_t bytes) {
  activate();
  if (bytes != 0)
    check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToHost, stream_),
          "cudaMemcpyAsync of {} bytes from cuda:{}", bytes, index_);
  synchronize();
}

void CudaDevice::throw_fault() {
  if (*static_cast<volatile std::uintptr_t*>(&record_->thrower) == 0) return;
  const Fault fault = *record_;
  *record_ = {};
  check(cudaMemsetAsync(claimed_, 0, sizeof *claimed_, stream_), "cudaMemsetAsync of a flag on cuda:{}", index_);
  reinterpret_cast<FaultThrower>(fault.thrower)(fault);
}

}  // namespace accrue::cuda

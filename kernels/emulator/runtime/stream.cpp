#include "kernels/emulator/runtime/stream.h"

#include <cuda_runtime_api.h>

#include <map>
#include <vector>

#include "kernels/emulator/emulator.h"
#include "kernels/emulator/runtime/capture.h"
#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"

namespace accrue::emulator {
namespace {

std::uint64_t synchronisations = 0;

struct Registry {
  std::map<std::uint64_t, std::unique_ptr<CUstream_st>> streams;
  std::uint64_t made = 0;

  CUstream_st& add() {
    auto stream = std::make_unique<CUstream_st>();
    stream->id = made++;
    return *(streams[stream->id] = std::move(stream));
  }
  Registry() { add(); }  // the default stream has number 0
};

Registry& registry() {
  static Registry instance;
  return instance;
}

CUstream_st& default_stream() { return *registry().streams.at(0); }

void run_first(CUstream_st& stream) {
  const Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  work();
  ++stream.completed;
}

// What work that is put into this stream now has to wait for.
std::vector<StreamPlace> dependencies(const CUstream_st& stream) {
  std::vector<StreamPlace> places;
  if (!is_default(stream)) {
    if (stream.blocking) places.push_back(end_of(default_stream()));
    return places;
  }
  for (const auto& [id, other] : registry().streams) {
    if (other->blocking && id != stream.id) places.push_back(end_of(*other));
  }
  return places;
}

bool any_blocking_stream_captures() {
  for (const auto& [id, stream] : registry().streams) {
    if (stream->blocking && stream->capture) return true;
  }
  return false;
}

}  // namespace

CUstream_st* find_stream(cudaStream_t handle) {
  if (handle == nullptr || handle == cudaStreamLegacy || handle == cudaStreamPerThread) return &default_stream();
  for (const auto& [id, stream] : registry().streams) {
    if (stream.get() == handle) return handle;
  }
  return nullptr;
}

CUstream_st* find_stream_by_id(std::uint64_t id) {
  const auto found = registry().streams.find(id);
  return found == registry().streams.end() ? nullptr : found->second.get();
}

bool is_default(const CUstream_st& stream) { return stream.id == 0; }

cudaError_t submit(cudaStream_t handle, Work work) {
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  if (stream->capture) return stream->capture->add(stream->id, std::move(work));
  if (is_default(*stream) && any_blocking_stream_captures()) return cudaErrorStreamCaptureImplicit;
  ++stream->issued;
  if (options().streams == Streams::lazy) {
    stream->queue.emplace_back([places = dependencies(*stream), work = std::move(work)] {
      for (const StreamPlace& place : places) complete(place);
      work();
    });
  } else {
    complete({stream->id, stream->issued - 1});  // from before, if the streams have just been lazy
    stream->queue.push_back(std::move(work));
    run_first(*stream);
  }
  return cudaSuccess;
}

void enqueue(cudaStream_t stream, std::function<void()> work) {
  const RuntimeLock lock;
  record_error(submit(stream, std::move(work)));
}

StreamPlace end_of(const CUstream_st& stream) { return {stream.id, stream.issued}; }

void complete(const StreamPlace& place) {
  CUstream_st* stream = find_stream_by_id(place.stream);
  while (stream != nullptr && stream->completed < place.position && !stream->queue.empty()) run_first(*stream);
}

bool is_complete(const StreamPlace& place) {
  const CUstream_st* stream = find_stream_by_id(place.stream);
  return stream == nullptr || stream->completed >= place.position;
}

void progress(const StreamPlace& place) {
  if (!is_complete(place)) run_first(*registry().streams.at(place.stream));
}

void complete_all() {
  for (const auto& [id, stream] : registry().streams) complete(end_of(*stream));
}

void release_capture(const Capture& capture) {
  for (const std::uint64_t id : capture.streams()) {
    if (CUstream_st* stream = find_stream_by_id(id)) stream->capture.reset();
  }
}

void count_synchronisation() { ++synchronisations; }
std::uint64_t synchronisation_count() { return synchronisations; }

}  // namespace accrue::emulator

using namespace accrue::emulator;

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
  const RuntimeLock lock;
  if (handle == nullptr || (flags & ~unsigned{cudaStreamNonBlocking}) != 0) return record_error(cudaErrorInvalidValue);
  CUstream_st& stream = registry().add();
  stream.blocking = (flags & cudaStreamNonBlocking) == 0;
  stream.priority = priority;
  *handle = &stream;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  return cudaStreamCreateWithPriority(handle, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t* handle) {
  return cudaStreamCreateWithPriority(handle, cudaStreamDefault, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr || is_default(*stream)) return record_error(cudaErrorInvalidResourceHandle);
  complete(end_of(*stream));
  registry().streams.erase(stream->id);
  return cudaSuccess;
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  const RuntimeLock lock;
  const CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  *priority = stream->priority;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  if (stream->capture) return record_error(stream->capture->invalidate(cudaErrorStreamCaptureUnsupported));
  count_synchronisation();
  if (is_default(*stream)) {
    for (const StreamPlace& place : dependencies(*stream)) complete(place);
  }
  complete(end_of(*stream));
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  if (stream->capture) return record_error(stream->capture->invalidate(cudaErrorStreamCaptureUnsupported));
  progress(end_of(*stream));
  return is_complete(end_of(*stream)) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  const RuntimeLock lock;
  if (const cudaError_t error = Capture::forbid_here(); error != cudaSuccess) return record_error(error);
  count_synchronisation();
  complete_all();
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  const RuntimeLock lock;
  return record_error(submit(handle, [function, data] { function(data); }));
}

}  // extern "C"

#include "kernels/emulator/runtime/capture.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <memory>

#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"

namespace accrue::emulator {
namespace {

std::vector<std::weak_ptr<Capture>>& captures() {
  static std::vector<std::weak_ptr<Capture>> instance;
  return instance;
}

void run_all(const std::vector<Work>& nodes) {
  for (const Work& work : nodes) work();
}

}  // namespace

cudaError_t Capture::add(std::uint64_t stream, Work work) {
  if (!valid_) return cudaErrorStreamCaptureInvalidated;
  nodes_.push_back(std::move(work));
  ++clocks_[stream][stream];
  return cudaSuccess;
}

cudaError_t Capture::invalidate(cudaError_t error) {
  valid_ = false;
  return error;
}

void Capture::wait(std::uint64_t stream, const CaptureClock& clock) {
  CaptureClock& own = clocks_[stream];
  for (const auto& [other, position] : clock) own[other] = std::max(own[other], position);
}

bool Capture::joined() const {
  const CaptureClock& known = clocks_.at(origin_);
  return std::all_of(clocks_.begin(), clocks_.end(), [&](const auto& entry) {
    const auto& [stream, clock] = entry;
    const auto done = clock.find(stream);
    if (stream == origin_ || done == clock.end()) return true;
    const auto seen = known.find(stream);
    return seen != known.end() && seen->second >= done->second;
  });
}

std::vector<std::uint64_t> Capture::streams() const {
  std::vector<std::uint64_t> result;
  for (const auto& [stream, clock] : clocks_) result.push_back(stream);
  return result;
}

cudaError_t Capture::forbid_here() {
  cudaError_t error = cudaSuccess;
  for (const auto& weak : captures()) {
    const auto capture = weak.lock();
    if (!capture || capture->mode_ == cudaStreamCaptureModeRelaxed) continue;
    error = capture->invalidate(cudaErrorStreamCaptureUnsupported);
  }
  return error;
}

}  // namespace accrue::emulator

using namespace accrue::emulator;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  if (is_default(*stream)) return record_error(cudaErrorStreamCaptureUnsupported);
  if (stream->capture) return record_error(cudaErrorIllegalState);
  stream->capture = std::make_shared<Capture>(stream->id, mode);
  std::erase_if(captures(), [](const auto& capture) { return capture.expired(); });
  captures().push_back(stream->capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  if (!stream->capture) return record_error(cudaErrorIllegalState);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (capture->origin() != stream->id) return record_error(cudaErrorStreamCaptureUnmatched);
  release_capture(*capture);
  *graph = nullptr;
  if (!capture->valid()) return record_error(cudaErrorStreamCaptureInvalidated);
  if (!capture->joined()) return record_error(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st(capture->take());
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  if (!stream->capture) {
    *status = cudaStreamCaptureStatusNone;
  } else {
    *status = stream->capture->valid() ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusInvalidated;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  const RuntimeLock lock;
  if (executable == nullptr || graph == nullptr) return record_error(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
  const RuntimeLock lock;
  if (executable == nullptr) return record_error(cudaErrorInvalidValue);
  // A copy: the executable may be destroyed while its launches are under way.
  return record_error(submit(handle, [nodes = executable->nodes] { run_all(nodes); }));
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  const RuntimeLock lock;
  if (graph == nullptr || count == nullptr) return record_error(cudaErrorInvalidValue);
  if (nodes != nullptr) return record_error(cudaErrorNotSupported);  // nodes have no handles here
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const RuntimeLock lock;
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const RuntimeLock lock;
  delete executable;
  return cudaSuccess;
}

}  // extern "C"

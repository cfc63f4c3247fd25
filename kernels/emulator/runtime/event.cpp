// Events: places in streams, with the time when the work before them was done.
#include <cuda_runtime_api.h>

#include <chrono>
#include <memory>
#include <optional>

#include "kernels/emulator/runtime/capture.h"
#include "kernels/emulator/runtime/error.h"
#include "kernels/emulator/runtime/lock.h"
#include "kernels/emulator/runtime/stream.h"

namespace accrue::emulator {
namespace {

using Clock = std::chrono::steady_clock;

// What one cudaEventRecord() has made of the event. Waits keep it: a later record does not change what they wait for.
struct Record {
  StreamPlace place;
  std::optional<Clock::time_point> time;
  std::shared_ptr<Capture> capture;  // of the stream that recorded it, with what that stream then knew
  CaptureClock clock;
};

}  // namespace
}  // namespace accrue::emulator

using namespace accrue::emulator;

struct CUevent_st {
  bool timed = true;
  std::shared_ptr<Record> record = nullptr;
};

namespace accrue::emulator {
namespace {

cudaError_t wait_in_capture(CUstream_st& stream, const Record& record) {
  if (!record.capture) {
    // The work before the event is not part of the graph.
    return stream.capture->invalidate(cudaErrorStreamCaptureIsolation);
  }
  if (stream.capture && stream.capture != record.capture) {
    return stream.capture->invalidate(cudaErrorStreamCaptureUnmatched);
  }
  stream.capture = record.capture;
  record.capture->wait(stream.id, record.clock);
  return cudaSuccess;
}

bool still_captures(const Record& record) {
  const CUstream_st* stream = find_stream_by_id(record.place.stream);
  return record.capture != nullptr && stream != nullptr && stream->capture == record.capture;
}

}  // namespace
}  // namespace accrue::emulator

extern "C" {

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const RuntimeLock lock;
  if (event == nullptr) return record_error(cudaErrorInvalidValue);
  *event = new CUevent_st{.timed = (flags & cudaEventDisableTiming) == 0};
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const RuntimeLock lock;
  if (event == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (event == nullptr || stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  auto record = std::make_shared<Record>();
  event->record = record;
  if (stream->capture) {
    record->place = end_of(*stream);
    record->capture = stream->capture;
    record->clock = stream->capture->now(stream->id);
    return cudaSuccess;
  }
  const cudaError_t error = submit(handle, [record] { record->time = Clock::now(); });
  record->place = end_of(*stream);
  return record_error(error);
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t handle, unsigned) {
  return cudaEventRecord(event, handle);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  const RuntimeLock lock;
  CUstream_st* stream = find_stream(handle);
  if (event == nullptr || stream == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Record> record = event->record;
  if (!record) return cudaSuccess;  // never recorded: nothing to wait for
  if (stream->capture || still_captures(*record)) return record_error(wait_in_capture(*stream, *record));
  return record_error(submit(handle, [place = record->place] { complete(place); }));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const RuntimeLock lock;
  if (event == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  if (!event->record) return cudaSuccess;
  if (still_captures(*event->record)) return record_error(cudaErrorStreamCaptureUnsupported);
  progress(event->record->place);
  return is_complete(event->record->place) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const RuntimeLock lock;
  if (event == nullptr) return record_error(cudaErrorInvalidResourceHandle);
  count_synchronisation();
  if (!event->record) return cudaSuccess;
  if (still_captures(*event->record)) return record_error(cudaErrorStreamCaptureUnsupported);
  complete(event->record->place);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const RuntimeLock lock;
  for (const cudaEvent_t event : {start, end}) {
    if (event == nullptr || !event->timed || !event->record) return record_error(cudaErrorInvalidResourceHandle);
  }
  if (!start->record->time || !end->record->time) return record_error(cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(*end->record->time - *start->record->time).count();
  return cudaSuccess;
}

}  // extern "C"

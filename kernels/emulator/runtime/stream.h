// Streams: queues of work, which runs when it is put in (eager) or when something waits for it (lazy).
#pragma once

#include <driver_types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>

namespace accrue::emulator {

using Work = std::function<void()>;
class Capture;

// A place in a stream. Streams are named by numbers here: a place may outlive its stream.
struct StreamPlace {
  std::uint64_t stream = 0;
  std::uint64_t position = 0;  // how much work had been put in
};

}  // namespace accrue::emulator

struct CUstream_st {
  std::uint64_t id = 0;
  bool blocking = true;  // ordered with the legacy default stream
  int priority = 0;
  std::deque<accrue::emulator::Work> queue;
  std::uint64_t issued = 0, completed = 0;
  std::shared_ptr<accrue::emulator::Capture> capture;  // while it captures
};

namespace accrue::emulator {

// The stream of a handle, or nullptr where there is none. 0 and cudaStreamLegacy are the default stream, and so is
// cudaStreamPerThread.
CUstream_st* find_stream(cudaStream_t handle);
CUstream_st* find_stream_by_id(std::uint64_t id);
bool is_default(const CUstream_st& stream);

// Puts work into a stream, or into the graph that the stream captures. Work of the default stream waits for what is in
// the blocking streams, and theirs for what is in it.
cudaError_t submit(cudaStream_t handle, Work work);

StreamPlace end_of(const CUstream_st& stream);
// Runs the stream's work up to this place. Nothing where the stream is gone: destroying it has completed its work.
void complete(const StreamPlace& place);
bool is_complete(const StreamPlace& place);
// As if a little time had passed: the host asks whether the work is done. Runs one piece of work of a lazy stream.
void progress(const StreamPlace& place);
void complete_all();

// At the end of a capture: its streams run their work again.
void release_capture(const Capture& capture);

// Notes that the host waits for the device.
void count_synchronisation();

}  // namespace accrue::emulator

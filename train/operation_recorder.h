// The calls of operations on a device, with their times.
#pragma once

#include <exception>
#include <memory>
#include <string_view>
#include <vector>

#include "core/timeline.h"
#include "kernels/operation_observer.h"

namespace accrue::train {

struct OperationCall {
  std::string_view name;
  double begin = 0, end = 0;    // seconds on the device, since the recording began
  double self = 0;              // of these, those outside of the calls inside it
  kernels::OperationCost cost;  // none where calls are inside: they have theirs
};

struct Recording {
  double seconds = 0;                // that it took
  std::vector<OperationCall> calls;  // in the order in which they began
};

// Observes every operation from its making on, until it goes. There is one at a time.
class OperationRecorder final : public kernels::OperationObserver {
 public:
  explicit OperationRecorder(std::unique_ptr<Timeline> timeline);
  ~OperationRecorder() override;
  OperationRecorder(const OperationRecorder&) = delete;
  OperationRecorder& operator=(const OperationRecorder&) = delete;

  void begin(const char* name, const kernels::OperationCost& cost) override;
  void end() noexcept override;

  // Between calls, once: ends the recording and waits for the device. Throws what went wrong at a call's end.
  Recording finish();

 private:
  struct Call {
    const char* name;
    kernels::OperationCost cost;
    std::size_t begin, end;  // marks of the timeline
    std::size_t parent;      // whose call this one is inside, or none
  };
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  std::unique_ptr<Timeline> timeline_;
  std::vector<Call> calls_;
  std::size_t open_ = none;  // the innermost call that has not ended
  std::exception_ptr failure_;
};

}  // namespace accrue::train

// Who is told of every call of an operation: a profiler.
#pragma once

#include "kernels/operation_cost.h"

namespace accrue::kernels {

// Told by the thread that makes the calls, before each and after it, also where it throws. Calls that begin before
// another has ended are part of that one, as those of linear_gelu() on the CPU.
class OperationObserver {
 public:
  virtual ~OperationObserver() = default;
  // The name outlives the process.
  virtual void begin(const char* name, const OperationCost& cost) = 0;
  virtual void end() noexcept = 0;
};

namespace detail {
inline constinit OperationObserver* operation_observer = nullptr;
}

// Of the whole process; null while nobody observes, which costs a call one branch.
inline OperationObserver* operation_observer() { return detail::operation_observer; }
inline void set_operation_observer(OperationObserver* observer) { detail::operation_observer = observer; }

// Lives as long as a call. Also for what is no operation of a device but takes its share of the time, such as loading
// data.
class ObservedCall {
 public:
  explicit ObservedCall(const char* name, const OperationCost& cost = {}) : observer_(operation_observer()) {
    if (observer_ != nullptr) observer_->begin(name, cost);
  }
  ~ObservedCall() {
    if (observer_ != nullptr) observer_->end();
  }
  ObservedCall(const ObservedCall&) = delete;
  ObservedCall& operator=(const ObservedCall&) = delete;

 private:
  OperationObserver* observer_;
};

}  // namespace accrue::kernels

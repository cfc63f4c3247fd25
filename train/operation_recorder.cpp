#include "train/operation_recorder.h"

#include <utility>

#include "core/check.h"

namespace accrue::train {

OperationRecorder::OperationRecorder(std::unique_ptr<Timeline> timeline) : timeline_(std::move(timeline)) {
  check(kernels::operation_observer() == nullptr, "OperationRecorder: operations are being observed already");
  timeline_->mark();
  kernels::set_operation_observer(this);
}

OperationRecorder::~OperationRecorder() { kernels::set_operation_observer(nullptr); }

void OperationRecorder::begin(const char* name, const kernels::OperationCost& cost) {
  calls_.push_back({.name = name, .cost = cost, .begin = 0, .end = 0, .parent = open_});
  try {
    calls_.back().begin = timeline_->mark();
  } catch (...) {
    calls_.pop_back();
    throw;
  }
  open_ = calls_.size() - 1;
}

void OperationRecorder::end() noexcept {
  Call& call = calls_[open_];
  open_ = call.parent;
  try {
    call.end = timeline_->mark();
  } catch (...) {
    failure_ = std::current_exception();
  }
}

Recording OperationRecorder::finish() {
  check(open_ == none, "OperationRecorder: finish() inside a call of an operation");
  kernels::set_operation_observer(nullptr);
  if (failure_) std::rethrow_exception(failure_);
  const std::size_t last = timeline_->mark();
  const std::vector<double> seconds = timeline_->seconds();
  Recording recording{.seconds = seconds[last], .calls = {}};
  recording.calls.reserve(calls_.size());
  for (const Call& call : calls_) {
    const double begin = seconds[call.begin], end = seconds[call.end];
    recording.calls.push_back({.name = call.name, .begin = begin, .end = end, .self = end - begin, .cost = call.cost});
    if (call.parent == none) continue;
    OperationCall& parent = recording.calls[call.parent];
    parent.self -= end - begin;
    parent.cost = {};
  }
  return recording;
}

}  // namespace accrue::train

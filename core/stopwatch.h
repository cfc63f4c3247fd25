// How long a device takes for a piece of work, without anybody waiting for it.
#pragma once

#include <chrono>

namespace accrue {

// The time on the device between two points of its work; the host may be far ahead of it.
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  virtual void start() = 0;
  virtual void stop() = 0;
  // Between the last start() and stop(); waits until the device has come to the latter.
  virtual double seconds() = 0;
};

// On a device whose work is done when its call returns.
class HostStopwatch final : public Stopwatch {
 public:
  void start() override { begin_ = Clock::now(); }
  void stop() override { end_ = Clock::now(); }
  double seconds() override { return std::chrono::duration<double>(end_ - begin_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point begin_, end_;
};

}  // namespace accrue

// When a device came to points of its work, without anybody waiting for it in between.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace accrue {

class Timeline {
 public:
  virtual ~Timeline() = default;
  // A point behind all work that the device has been given so far. Returns its number: 0, 1, 2, …
  virtual std::size_t mark() = 0;
  // Of each point, in seconds since the first one; waits until the device has come to the last.
  virtual std::vector<double> seconds() = 0;
};

// Of a device whose work is done when its call returns.
class HostTimeline final : public Timeline {
 public:
  std::size_t mark() override {
    points_.push_back(Clock::now());
    return points_.size() - 1;
  }
  std::vector<double> seconds() override {
    std::vector<double> since_first;
    since_first.reserve(points_.size());
    for (const Clock::time_point point : points_)
      since_first.push_back(std::chrono::duration<double>(point - points_.front()).count());
    return since_first;
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::vector<Clock::time_point> points_;
};

}  // namespace accrue

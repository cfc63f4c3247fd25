// Allocations that fail when a test wants them to: of the host's heap (every operator new of the process, libraries
// included) and of a device's allocator.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/allocator.h"
#include "core/check.h"
#include "tests/testing/sweep.h"

namespace accrue::testing {

enum class FaultyMemory { host, arena };

// While it lives, allocation number `site` (from 0) of that memory fails, once; the others succeed.
class AllocationFault {
 public:
  AllocationFault(FaultyMemory memory, Device device, std::int64_t site);
  ~AllocationFault();
  AllocationFault(const AllocationFault&) = delete;
  AllocationFault& operator=(const AllocationFault&) = delete;
  bool has_failed() const;

 private:
  FaultyMemory memory_;
  Device device_;
};

// The host allocations of a call.
std::int64_t host_allocations_of(const std::function<void()>& call);

// What has come out of an operation one of whose allocations was to fail.
struct FaultOutcome {
  bool failed = false;     // an allocation did
  bool completed = false;  // nothing was thrown
};

// Runs it with that failure; a test failure if anything comes out but Error(memory) or std::bad_alloc.
template <class Operation>
FaultOutcome run_with_fault(FaultyMemory memory, Device device, std::int64_t site, Operation&& operation) {
  FaultOutcome outcome;
  std::string wrong;
  {
    const AllocationFault fault(memory, device, site);
    try {
      operation();
      outcome.completed = true;
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::memory) wrong = error.what();
    } catch (const std::bad_alloc&) {
    } catch (const std::exception& error) {
      wrong = error.what();
    }
    outcome.failed = fault.has_failed();
  }
  EXPECT_EQ(wrong, "") << "what must come out is Error(memory) or std::bad_alloc";
  EXPECT_TRUE(outcome.completed || outcome.failed) << "it fails without a failed allocation";
  return outcome;
}

// On the emulated device a test fails every nineteenth allocation, and all of them where the environment has
// ACCRUE_FAULT_SITES=all.
inline std::int64_t distance_of_sites(Device device) {
  const char* sites = std::getenv("ACCRUE_FAULT_SITES");
  const bool all = sites != nullptr && std::string_view(sites) == "all";
  return is_emulated(device) && !all ? 19 : 1;
}

// Fails the first allocation of an operation, then the second (or one further on, as distance_of_sites() says), … until
// it completes without a failure.
//
// Each time prepare() makes the subject (a pointer to it), operate(subject) is what fails, and inspect(subject,
// completed) looks at what is left and tries again. Nothing may be live on the device that was not before, unless the
// operation has completed. Returns how many sites have failed.
template <class Prepare, class Operate, class Inspect>
std::int64_t fail_at_every_site(const char* operation, FaultyMemory memory, Device device, Prepare&& prepare,
                                Operate&& operate, Inspect&& inspect) {
  std::int64_t failed = 0;
  for (std::int64_t site = 0;; site += distance_of_sites(device), ++failed) {
    SCOPED_TRACE(fmt::format("{}: {} allocation {} on {}", operation, memory == FaultyMemory::host ? "host" : "arena",
                             site, device.to_string()));
    auto subject = prepare();
    const std::size_t live = Allocator::of(device).stats().total.live;
    const FaultOutcome outcome = run_with_fault(memory, device, site, [&] { operate(*subject); });
    if (!outcome.completed) {
      EXPECT_EQ(Allocator::of(device).stats().total.live, live) << "leaked on the device";
    }
    inspect(*subject, outcome.completed);
    if (!outcome.failed || ::testing::Test::HasFailure()) {
      std::cout << fmt::format("{} on {}: {} {} allocations failed\n", operation, device.to_string(), failed,
                               memory == FaultyMemory::host ? "host" : "arena");
      return failed;
    }
  }
}

}  // namespace accrue::testing

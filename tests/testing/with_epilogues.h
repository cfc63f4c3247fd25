// Code under each choice of what products compute in the same pass.
#pragma once

#include <gtest/gtest.h>

#include "core/device.h"
#include "kernels/matmul_epilogues.h"

namespace accrue::testing {

class EpilogueSetting {
 public:
  explicit EpilogueSetting(kernels::MatmulEpilogues epilogues) { kernels::set_matmul_epilogues(epilogues); }
  ~EpilogueSetting() { kernels::set_matmul_epilogues(kernels::MatmulEpilogues::bias); }
  EpilogueSetting(const EpilogueSetting&) = delete;
  EpilogueSetting& operator=(const EpilogueSetting&) = delete;
};

// Calls function() under every choice that a device has.
template <class Function>
void with_each_epilogue_setting(Device device, Function&& function) {
  function();
  if (device.kind == DeviceKind::cpu) return;
  SCOPED_TRACE("all epilogues");
  const EpilogueSetting all(kernels::MatmulEpilogues::all);
  function();
}

}  // namespace accrue::testing

#include "kernels/step_control.h"

#include "kernels/backend.h"

namespace accrue::kernels {
namespace {

void require_state(std::string_view op, const Tensor& state) {
  require_defined(op, {{"state", state}});
  require_dtype(op, {"state", state}, DType::u8);
  require_shape(op, {"state", state}, {sizeof(StepState)}, "to hold a StepState");
}

}  // namespace

void add_loss_terms(const AddLossTerms& a) {
  require_state("add_loss_terms", a.state);
  require_defined("add_loss_terms", {{"terms", a.terms}});
  require_dtype("add_loss_terms", {"terms", a.terms}, DType::u8);
  require_shape("add_loss_terms", {"terms", a.terms}, {sizeof(LossTerms)}, "to hold LossTerms");
  require_same_device("add_loss_terms", {{"state", a.state}, {"terms", a.terms}});
  run_on(a.state, a, cpu::add_loss_terms);
}

void begin_step(const BeginStep& a) {
  require_state("begin_step", a.state);
  check(a.divisor_override >= 0, "begin_step: divisor_override must not be negative, but is {}", a.divisor_override);
  check(a.max_norm >= 0, "begin_step: max_norm must not be negative, but is {}", a.max_norm);
  run_on(a.state, a, cpu::begin_step);
}

void finish_step(const FinishStep& a) {
  require_state("finish_step", a.state);
  run_on(a.state, a, cpu::finish_step);
}

}  // namespace accrue::kernels

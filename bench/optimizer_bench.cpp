// The boundary's passes over a model's parameters, and its bookkeeping.
#include "bench/bench.h"
#include "kernels/adamw.h"
#include "kernels/find_overflow.h"
#include "kernels/gradient_check.h"
#include "kernels/sgd.h"
#include "kernels/step_control.h"

namespace accrue::bench {
namespace {

using namespace kernels;

struct Size {
  std::string name;
  std::int64_t parameters;

  double count() const { return static_cast<double>(parameters); }
  Tensor zeros(Device device, DType dtype = DType::f32) const { return Tensor::zeros({parameters}, dtype, device); }
};

// The models' with byte-level vocabularies; GPT-2's with padded slices.
const std::vector<Size> sizes = {{"tiny", 1000},
                                 {"gpt_4_4_128", 834'304},
                                 {"gpt_6_6_384", 10'844'160},
                                 {"gpt2_124m", 124'475'904},
                                 {"odd_1000003", 1'000'003}};

Tensor applied_state(Device device) {
  const Tensor state = make_step_state(device);
  write_step_state(state, {.apply = 1, .factor = 1, .learning_rate = 1e-3f});
  return state;
}

// One pass over f32 buffers.
template <class Make>
void add_pass(const std::string& name, Make make) {
  for (const Device device : devices())
    for (const Size& size : sizes)
      add_benchmark("optimizer/" + name, {.device = device}, size.name, [=] { return make(size, device); });
}

Work adamw_work(const Size& size, Device device, const Tensor& compute) {
  const AdamW pass{.master = size.zeros(device),
                   .m = size.zeros(device),
                   .v = size.zeros(device),
                   .compute = compute,
                   .gradient = size.zeros(device),
                   .state = applied_state(device),
                   .weight_decay = 0.1};
  return {[=] { adamw(pass); }, (compute.defined() ? 30 : 28) * size.count(), 15 * size.count(), Bound::update};
}

// As many parameters as GPT-2 has, all of one size. The search ends at once where nothing overflowed, so the state says
// that something did; where the gradient is finite all the same, all of it is read.
Work search_work(const Size& size, Device device) {
  constexpr std::int64_t count = 148;
  std::vector<GradientSlice> slices;
  for (std::int64_t begin = 0, left = count; left > 0; begin += slices.back().count, --left)
    slices.push_back({.begin = begin, .count = (size.parameters - begin) / left});
  const Tensor state = make_step_state(device);
  write_step_state(state, {.found_inf = 1});
  const FindOverflow search{.state = state, .gradient = size.zeros(device), .slices = gradient_slices(slices, device)};
  return {[=] { find_overflow(search); }, 4 * size.count(), 0};
}

Work bookkeeping(Device device) {
  const Tensor state = applied_state(device), terms = empty_loss_terms(device);
  terms.fill_zero();
  return {[=] {
            add_loss_terms({.state = state, .terms = terms});
            begin_step({.state = state});
            finish_step({.state = state});
          },
          0, 0, Bound::nothing};
}

const Registration registration([] {
  add_pass("gradient_check", [](const Size& size, Device device) {
    const GradientCheck pass{.state = applied_state(device), .gradient = size.zeros(device)};
    return Work{[=] { gradient_check(pass); }, 4 * size.count(), 2 * size.count()};
  });
  add_pass("find_overflow", search_work);
  add_pass("adamw", [](const Size& size, Device device) { return adamw_work(size, device, {}); });
  add_pass("adamw_bf16_copy",
           [](const Size& size, Device device) { return adamw_work(size, device, size.zeros(device, DType::bf16)); });
  add_pass("sgd_momentum", [](const Size& size, Device device) {
    const Sgd pass{.master = size.zeros(device),
                   .buffer = size.zeros(device),
                   .gradient = size.zeros(device),
                   .state = applied_state(device),
                   .momentum = 0.9};
    return Work{[=] { sgd(pass); }, 20 * size.count(), 6 * size.count()};
  });
  for (const Device device : devices())
    add_benchmark("step_control", {.device = device}, "tiny", [=] { return bookkeeping(device); });
});

}  // namespace
}  // namespace accrue::bench

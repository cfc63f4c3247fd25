// The boundary's passes over 124 M parameters, beside a triad of the same machine: bytes/s are those that the
// operations' headers count.
#include <benchmark/benchmark.h>

#include "kernels/adamw.h"
#include "kernels/gradient_check.h"
#include "kernels/scale.h"
#include "kernels/sgd.h"

namespace accrue::kernels {
namespace {

constexpr std::int64_t parameters = 124'475'904;  // GPT-2 124M with padded slices

Tensor zeros(DType dtype = DType::f32) { return Tensor::zeros({parameters}, dtype); }

Tensor applied_state() {
  const Tensor state = make_step_state(Device::cpu());
  write_step_state(state, {.apply = 1, .factor = 1, .learning_rate = 1e-3f});
  return state;
}

void report(benchmark::State& state, std::int64_t bytes_per_element) {
  state.SetBytesProcessed(state.iterations() * parameters * bytes_per_element);
}

// What a pass that reads one stream and writes another reaches.
void stream_scale(benchmark::State& state) {
  const Tensor x = zeros(), out = zeros();
  for (auto _ : state) scale({.out = out, .x = x, .factor_host = 2});
  report(state, 8);
}

void gradient_check_124m(benchmark::State& state) {
  const Tensor gradient = zeros(), step = applied_state();
  for (auto _ : state) gradient_check({.state = step, .gradient = gradient});
  report(state, 4);
}

void adamw_124m(benchmark::State& state) {
  const Tensor master = zeros(), m = zeros(), v = zeros(), gradient = zeros(), step = applied_state();
  const Tensor compute = state.range(0) != 0 ? zeros(DType::bf16) : Tensor();
  for (auto _ : state)
    adamw({.master = master,
           .m = m,
           .v = v,
           .compute = compute,
           .gradient = gradient,
           .state = step,
           .weight_decay = 0.1});
  report(state, compute.defined() ? 30 : 28);
}

void sgd_124m(benchmark::State& state) {
  const Tensor master = zeros(), buffer = zeros(), gradient = zeros(), step = applied_state();
  for (auto _ : state) sgd({.master = master, .buffer = buffer, .gradient = gradient, .state = step, .momentum = 0.9});
  report(state, 20);
}

BENCHMARK(stream_scale)->Name("optimizer/stream_scale")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(gradient_check_124m)->Name("optimizer/gradient_check")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(adamw_124m)
    ->Name("optimizer/adamw")
    ->ArgName("bf16_copy")
    ->Arg(0)
    ->Arg(1)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(sgd_124m)->Name("optimizer/sgd_momentum")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace accrue::kernels

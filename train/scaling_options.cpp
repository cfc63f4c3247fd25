#include "train/scaling_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>

#include "train/cli.h"

namespace accrue::train {
namespace {

constexpr float first_dynamic_scale = 0x1p16f, largest_static_scale = 0x1p24f;

// 0 where the text is no power of two in [1, 2^24].
float parse_scale(const std::string& text) {
  float value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return 0;
  return kernels::is_power_of_two(value) && value >= 1 && value <= largest_static_scale ? value : 0;
}

std::string check_scale(const std::string& text) {
  if (text == "dynamic" || parse_scale(text) > 0) return {};
  return fmt::format("must be dynamic, or a power of two in [1, {:.0f}] (so that unscaling is exact), but is '{}'",
                     largest_static_scale, text);
}

bool is_dynamic(const ScalingOptions& options, DType compute) {
  return options.loss_scale ? *options.loss_scale == "dynamic" : compute == DType::f16;
}

}  // namespace

void add_scaling_options(CLI::App& app, ScalingOptions& o) {
  const char* group = "Precision";
  app.add_option(
         "--loss-scale", o.loss_scale,
         "What gradients are multiplied by on their way, lest small ones vanish in half precision: dynamic (from "
         "65536 on), or a power of two [dynamic with fp16, else 1]")
      ->check(check_scale)
      ->group(group);
  require_at_least(app.add_option("--growth-interval", o.growth_interval,
                                  "Updates in a row after which a dynamic loss scale doubles [2000]")
                       ->group(group),
                   1);
  require_one_of(
      app.add_option("--on-overflow", o.on_overflow,
                     "With a window whose gradient is not finite: skip it, or replay it at half the loss scale")
          ->capture_default_str()
          ->group(group),
      {"skip", "replay"});
  require_one_of(
      app.add_option("--accumulate-dtype", o.accumulate_dtype,
                     "Of the buffer that gradients accumulate in: fp32; bf16 takes half the memory, and loses "
                     "more the more micro-batches a window has (gpt audit shows how much)")
          ->capture_default_str()
          ->group(group),
      {"fp32", "bf16"});
}

void apply_scaling(const ScalingOptions& o, DType compute, AccumulatorOptions& accumulator) {
  const bool dynamic = is_dynamic(o, compute), replay = o.on_overflow == "replay";
  if (o.growth_interval && !dynamic)
    fail(ErrorKind::usage,
         "--growth-interval has no effect with a fixed loss scale; leave it out, or use --loss-scale dynamic");
  if (replay && !dynamic)
    fail(ErrorKind::usage,
         "--on-overflow replay needs --loss-scale dynamic: at the same scale the window would overflow again");
  accumulator.scaling.dynamic = dynamic;
  if (o.growth_interval) accumulator.scaling.interval = *o.growth_interval;
  accumulator.loss_scale = dynamic ? first_dynamic_scale : o.loss_scale ? parse_scale(*o.loss_scale) : 1;
  accumulator.on_overflow = replay ? kernels::OnOverflow::replay : kernels::OnOverflow::skip;
}

DType accumulate_dtype(const ScalingOptions& options) {
  return options.accumulate_dtype == "bf16" ? DType::bf16 : DType::f32;
}

std::vector<std::pair<std::string, std::string>> scaling_rules(const ScalingOptions& o, DType compute) {
  const bool dynamic = is_dynamic(o, compute);
  return {{"--loss-scale", dynamic ? "dynamic" : fmt::format("{}", o.loss_scale ? parse_scale(*o.loss_scale) : 1)},
          {"--growth-interval", dynamic ? fmt::format("{}", o.growth_interval.value_or(2000)) : "none"},
          {"--on-overflow", o.on_overflow},
          {"--accumulate-dtype", o.accumulate_dtype}};
}

}  // namespace accrue::train

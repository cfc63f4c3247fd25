#include "train/batch_plan.h"

#include <vector>

#include "core/check.h"

namespace accrue::train {
namespace {

void require_positive(const char* option, std::optional<std::int64_t> value) {
  if (!value) return;
  if (*value < 1) fail(ErrorKind::usage, "{} must be at least 1, but is {}", option, *value);
  if (*value > largest_global_batch)
    fail(ErrorKind::usage, "{} {} is more than the {} samples that a global batch may have", option, *value,
         largest_global_batch);
}

std::string devices(std::int64_t world) { return fmt::format("{} device{}", world, world == 1 ? "" : "s"); }

std::int64_t round_up_division(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// micro * accumulation * world. The factors are at most 2^40 each, so that two of them may overflow 63 bits.
std::int64_t product(std::int64_t micro, std::int64_t accumulation, std::int64_t world) {
  std::int64_t result = 0;
  const bool fits =
      !__builtin_mul_overflow(micro, accumulation, &result) && !__builtin_mul_overflow(result, world, &result);
  if (!fits || result > largest_global_batch)
    fail(ErrorKind::usage,
         "--micro-batch {} x --accumulation {} x {} is more than the {} samples that a global batch may have", micro,
         accumulation, devices(world), largest_global_batch);
  return result;
}

// "12" or "8 or 16": the nearest values on both sides, where they exist.
std::string either(std::optional<std::int64_t> below, std::optional<std::int64_t> above) {
  if (below && above && *below != *above) return fmt::format("{} or {}", *below, *above);
  return fmt::format("{}", below ? *below : *above);
}

// The nearest multiples of `step` around `value`, at least one step.
std::string nearest_multiples(std::int64_t value, std::int64_t step) {
  const std::int64_t below = value / step * step;
  return either(below > 0 ? std::optional(below) : std::nullopt, below + step);
}

// The nearest divisors of `number` around `value`, which divides it not. 1 is always one of them.
std::string nearest_divisors(std::int64_t number, std::int64_t value) {
  std::optional<std::int64_t> below, above;
  const auto consider = [&](std::int64_t divisor) {
    if (divisor < value && (!below || divisor > *below)) below = divisor;
    if (divisor > value && (!above || divisor < *above)) above = divisor;
  };
  for (std::int64_t divisor = 1; divisor * divisor <= number; ++divisor) {
    if (number % divisor != 0) continue;
    consider(divisor);
    consider(number / divisor);
  }
  return either(below, above);
}

// The part of a global batch that each device gets; `per_device` is what the other given size makes it a multiple of.
std::int64_t share_of(std::int64_t global, std::int64_t world, std::int64_t per_device) {
  if (global % world != 0)
    fail(ErrorKind::usage, "--global-batch {} cannot be shared evenly by {}; the nearest that can: --global-batch {}",
         global, devices(world), nearest_multiples(global, product(per_device, 1, world)));
  return global / world;
}

BatchPlan ragged_plan(std::int64_t micro, std::int64_t share, std::int64_t world) {
  const std::int64_t accumulation = round_up_division(share, micro);
  return {.micro = micro,
          .accumulation = accumulation,
          .global = share * world,
          .world = world,
          .last_micro = share - micro * (accumulation - 1)};
}

BatchPlan even_plan(std::int64_t micro, std::int64_t accumulation, std::int64_t world) {
  return {.micro = micro,
          .accumulation = accumulation,
          .global = product(micro, accumulation, world),
          .world = world,
          .last_micro = micro};
}

BatchPlan from_micro_and_global(std::int64_t micro, std::int64_t global, std::int64_t world, bool ragged) {
  const std::int64_t share = share_of(global, world, micro);
  if (micro > share)
    fail(ErrorKind::usage,
         "--micro-batch {} on {} is more than --global-batch {} holds; use --micro-batch {}, "
         "or --global-batch {}",
         micro, devices(world), global, share, product(micro, 1, world));
  if (ragged) return ragged_plan(micro, share, world);
  if (share % micro != 0)
    fail(ErrorKind::usage,
         "--global-batch {} is no multiple of --micro-batch {} x {}; the nearest that work: --micro-batch {}, or "
         "--global-batch {}, or --ragged for a smaller last micro-batch",
         global, micro, devices(world), nearest_divisors(share, micro),
         nearest_multiples(global, product(micro, 1, world)));
  return even_plan(micro, share / micro, world);
}

BatchPlan from_accumulation_and_global(std::int64_t accumulation, std::int64_t global, std::int64_t world,
                                       bool ragged) {
  const std::int64_t share = share_of(global, world, accumulation);
  if (accumulation > share)
    fail(ErrorKind::usage,
         "--accumulation {} leaves no sample for each micro-batch of --global-batch {} on {}; use --accumulation {}, "
         "or --global-batch {}",
         accumulation, global, devices(world), share, product(1, accumulation, world));
  if (share % accumulation == 0) return even_plan(share / accumulation, accumulation, world);
  // Equal micro-batches of the rounded-up size may use the samples up too early: 9 in 4 would be 3, 3, 3 and nothing.
  const std::int64_t micro = round_up_division(share, accumulation);
  const BatchPlan plan = ragged_plan(micro, share, world);
  const bool splits = plan.accumulation == accumulation;
  if (!ragged)
    fail(ErrorKind::usage,
         "--global-batch {} is no multiple of --accumulation {} x {}; the nearest that work: --accumulation {}, or "
         "--global-batch {}{}",
         global, accumulation, devices(world), nearest_divisors(share, accumulation),
         nearest_multiples(global, product(1, accumulation, world)),
         splits ? ", or --ragged for a smaller last micro-batch" : "");
  if (!splits)
    fail(ErrorKind::usage,
         "--ragged --global-batch {} on {} cannot be {} equal micro-batches but for a smaller last one; the nearest "
         "that work: --accumulation {}",
         global, devices(world), accumulation, either(plan.accumulation, round_up_division(share, micro - 1)));
  return plan;
}

BatchPlan from_all_three(std::int64_t micro, std::int64_t accumulation, std::int64_t global, std::int64_t world,
                         bool ragged) {
  const BatchPlan whole = even_plan(micro, accumulation, world);
  if (whole.global == global) return whole;
  if (ragged && global % world == 0 && micro <= global / world) {
    const BatchPlan plan = ragged_plan(micro, global / world, world);
    if (plan.accumulation == accumulation) return plan;
  }
  fail(ErrorKind::usage,
       "--micro-batch {} x --accumulation {} x {} = {}, which contradicts --global-batch {}; leave one of the three "
       "out, "
       "or use --global-batch {}",
       micro, accumulation, devices(world), whole.global, global, whole.global);
}

}  // namespace

std::string BatchPlan::to_string() const {
  std::string text = fmt::format("global batch {} = micro-batch {} x accumulation {} x {}", global, micro, accumulation,
                                 devices(world));
  if (last_micro != micro) text += fmt::format(" (the last micro-batch has {})", last_micro);
  return text;
}

BatchPlan plan_batch(const BatchRequest& request) {
  require_positive("--micro-batch", request.micro);
  require_positive("--accumulation", request.accumulation);
  require_positive("--global-batch", request.global);
  require_positive("the number of devices", request.world);
  const auto& [micro, accumulation, global, world, ragged] = request;
  if (micro && accumulation && global) return from_all_three(*micro, *accumulation, *global, world, ragged);
  if (micro && global) return from_micro_and_global(*micro, *global, world, ragged);
  if (accumulation && global) return from_accumulation_and_global(*accumulation, *global, world, ragged);
  if (micro) return even_plan(*micro, accumulation.value_or(1), world);
  if (global) return even_plan(share_of(*global, world, 1), 1, world);
  if (accumulation)
    fail(ErrorKind::usage, "--accumulation {} alone leaves the batch open; add --micro-batch or --global-batch",
         *accumulation);
  fail(ErrorKind::usage, "the batch is not given; use --micro-batch, or --global-batch, or either with --accumulation");
}

}  // namespace accrue::train

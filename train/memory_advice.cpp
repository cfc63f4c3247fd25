#include "train/memory_advice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <new>
#include <optional>
#include <stdexcept>

namespace accrue::train {
namespace {

// What went wrong, without the exception: that may hold on to memory.
std::optional<std::string> shortage_of(const std::function<void()>& train) {
  try {
    train();
    return std::nullopt;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    return error.what();
  } catch (const std::bad_alloc&) {
    return "out of host memory";
  } catch (const std::length_error&) {
    return "out of host memory";
  }
}

std::string split_options(const BatchPlan& plan, bool ragged) {
  std::string text = fmt::format("--micro-batch {} --accumulation {}", plan.micro, plan.accumulation);
  if (ragged) text += fmt::format(" --global-batch {} --ragged", plan.global);
  return text;
}

std::string advice_for(const FittingSearch& search, Normalisation normalisation,
                       const std::vector<std::string>& savings) {
  const std::optional<std::int64_t> micro = largest_fitting_micro_batch(search);
  if (!micro)
    return fmt::format("not even --micro-batch 1 fits: only a smaller model{} helps",
                       savings.empty() ? std::string() : fmt::format(", or {},", fmt::join(savings, " or ")));
  if (*micro == search.batch.micro)
    return "the micro-batches themselves fit: memory was short for a moment, or for something else, such as a "
           "checkpoint; leave more of it free and run the command again";
  const BatchPlan plan =
      plan_batch({.micro = micro, .global = search.batch.global, .world = search.batch.world, .ragged = search.ragged});
  const bool same = normalisation == Normalisation::targets;
  return fmt::format("{} fits and gives {}", split_options(plan, search.ragged),
                     same ? "the same update" : "the mean over other micro-batches (--normalisation micro-batches)");
}

}  // namespace

void run_within_memory(const FittingSearch& search, Normalisation normalisation,
                       const std::vector<std::string>& savings, const std::function<void()>& train) {
  const std::optional<std::string> shortage = shortage_of(train);
  if (!shortage) return;
  std::string advice;
  try {
    advice = advice_for(search, normalisation, savings);
  } catch (const std::exception&) {
    // The search is a service: what it meets is not what ended the run.
    advice = "a smaller --micro-batch with a larger --accumulation gives the same update in less memory";
  }
  throw AdvisedError(ErrorKind::memory, fmt::format("{}; {}", *shortage, advice));
}

std::vector<std::string> memory_savings(const TrainingOptions& options, const Machine& machine,
                                        const std::string& of_program) {
  std::vector<std::string> savings;
  if (!of_program.empty()) savings.push_back(of_program);
  if (machine.device.kind == DeviceKind::cuda && machine.compute == DType::f32)
    savings.emplace_back("--precision bf16");
  if (accumulate_dtype(options.scaling) == DType::f32) savings.emplace_back("--accumulate-dtype bf16");
  return savings;
}

}  // namespace accrue::train

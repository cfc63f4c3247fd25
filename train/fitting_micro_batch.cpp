#include "train/fitting_micro_batch.h"

#include <algorithm>
#include <new>
#include <stdexcept>

#include "core/allocator.h"

namespace accrue::train {
namespace {

// Runs what a training runs with micro-batches of one size, up to the boundary.
class Rehearsal {
 public:
  Rehearsal(const FittingSearch& search, std::int64_t samples) : search_(search), samples_(samples) {}

  void run() const {
    micro_batches(2);  // the first overwrites gradients, the second adds to them
    if (search_.validation != nullptr) evaluate_batch(*search_.validation);
    micro_batches(1);  // finds the memory as the evaluation has left it
  }

 private:
  // What a window holds at most: the data set's end cuts it, unless it goes on with the beginning.
  std::int64_t samples_in_window() const {
    return search_.partial == PartialWindow::carry ? samples_ : std::min(samples_, search_.data.size());
  }

  Batch load(const Dataset& data, std::int64_t samples) const {
    std::vector<std::int64_t> indices(static_cast<std::size_t>(samples));
    for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<std::int64_t>(i) % data.size();
    return data.batch(indices, search_.device);
  }

  // As Trainer::run_window: the next batch is loaded while the last one is still there.
  void micro_batches(int count) const {
    Batch batch = load(search_.data, samples_in_window());
    for (int i = 0; i < count; ++i) {
      Tape tape = search_.accumulator.repeat_micro_batch(search_.accumulator.next_window(), 0, Tensor());
      const nn::Loss loss = search_.loss(tape, batch);
      tape.backward(loss.terms);
      batch = load(search_.data, samples_in_window());
    }
  }

  void evaluate_batch(const Dataset& data) const {
    Tape tape = Tape::inference();
    search_.loss(tape, load(data, std::min(samples_, data.size()))).read();
  }

  const FittingSearch& search_;
  std::int64_t samples_;
};

// Whatever ends the search, nothing of it is left for the next window to add to.
struct GradientsClearAtTheEnd {
  explicit GradientsClearAtTheEnd(ParameterStore& store) : parameters(store) {}
  ~GradientsClearAtTheEnd() { parameters.clear_gradients(); }
  GradientsClearAtTheEnd(const GradientsClearAtTheEnd&) = delete;
  GradientsClearAtTheEnd& operator=(const GradientsClearAtTheEnd&) = delete;
  ParameterStore& parameters;
};

bool fits(const FittingSearch& search, std::int64_t samples) {
  // As a new process finds the memory.
  search.accumulator.parameters().clear_gradients();
  Allocator::of(search.device).release_cached();
  try {
    Rehearsal(search, samples).run();
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  } catch (const std::length_error&) {  // more elements than a vector may have
    return false;
  }
}

}  // namespace

MicroBatchChoices::MicroBatchChoices(const BatchPlan& batch, bool ragged) : largest_(batch.micro), ragged_(ragged) {
  if (ragged) return;
  const std::int64_t share = batch.per_device();
  for (std::int64_t divisor = 1; divisor * divisor <= share; ++divisor) {
    if (share % divisor != 0) continue;
    if (divisor <= largest_) divisors_.push_back(divisor);
    if (share / divisor <= largest_ && share / divisor != divisor) divisors_.push_back(share / divisor);
  }
  std::ranges::sort(divisors_);
}

std::int64_t MicroBatchChoices::count_up_to(std::int64_t samples) const {
  if (ragged_) return std::min(samples, largest_);
  return std::ranges::upper_bound(divisors_, samples) - divisors_.begin();
}

std::optional<std::int64_t> MicroBatchChoices::last_that(const std::function<bool(std::int64_t)>& fits) const {
  std::int64_t good = 0, bad = count();  // [0, good) fit, [bad, count) do not
  // At most twice what fits, where there is such a choice: trying must not take a machine's last memory.
  std::int64_t next = 0;
  while (good < bad && fits((*this)[next])) {
    good = next + 1;
    next = good == bad ? good : std::max(good, count_up_to(2 * (*this)[good - 1]) - 1);
  }
  bad = next;
  while (good < bad) {
    const std::int64_t middle = good + (bad - good) / 2;
    if (fits((*this)[middle]))
      good = middle + 1;
    else
      bad = middle;
  }
  return good == 0 ? std::nullopt : std::optional((*this)[good - 1]);
}

std::optional<std::int64_t> largest_fitting_micro_batch(const FittingSearch& search) {
  const GradientsClearAtTheEnd cleared(search.accumulator.parameters());
  return MicroBatchChoices(search.batch, search.ragged).last_that([&](std::int64_t samples) {
    return fits(search, samples);
  });
}

}  // namespace accrue::train

// What a window that met bad data does to the one that was begun before anybody knew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nn/gpt.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"

namespace accrue::train::late_reports_test {
namespace {

using namespace accrue::testing;
using ::testing::HasSubstr;

// Without the recorder, which waits for the device in every window.
struct Late {
  explicit Late(Device device)
      : model(small_gpt()),
        optimizer(initialized(device)),
        accumulator(parameters, optimizer, {.schedule = {.peak = 1e-2}, .reports = Reports::one_window_late}) {}

  std::optional<WindowReport> window(const Samples& samples) {
    accumulator.open_window(1);
    return micro_batch(samples);
  }
  std::optional<WindowReport> micro_batch(const Samples& samples) {
    Tape tape = accumulator.begin_micro_batch(samples.count());
    return accumulator.accumulate(tape, nn::cross_entropy(tape, model.forward(tape, samples.inputs), samples.targets));
  }

  nn::Gpt model;
  ParameterStore parameters;
  optim::AdamW optimizer;
  Accumulator accumulator;

 private:
  ParameterStore& initialized(Device device) {
    nn::initialize(model, parameters, 11, device);
    return parameters;
  }
};

class LateReports : public ::testing::Test {
 protected:
  // Devices that meet bad data when nobody is looking.
  static std::vector<Device> late_devices() {
    std::vector<Device> found = devices();
    std::erase_if(found, [](Device device) { return device.kind == DeviceKind::cpu; });
    return found;
  }
  static Samples good(Device device, std::uint64_t seed) { return gpt_samples(small_gpt(), {8, 3}, seed, device); }
  static Samples bad(Device device) {
    const Samples samples = good(device, 1);
    std::vector<std::int32_t> targets = samples.targets.to_vector<std::int32_t>();
    targets[1] = 1000;
    return {.inputs = samples.inputs, .targets = Tensor::from<std::int32_t>(targets, samples.targets.shape(), device)};
  }
};

TEST_F(LateReports, BadDataIsToldAWindowLaterAndBothComeAgain) {
  for (const Device device : late_devices()) {
    Late disturbed(device), undisturbed(device);
    disturbed.window(good(device, 2));
    EXPECT_EQ(disturbed.window(bad(device))->window, 0);
    EXPECT_THAT(error_message([&] { disturbed.window(good(device, 4)); }, ErrorKind::bad_data), HasSubstr("1000"));
    EXPECT_EQ(disturbed.accumulator.next_window(), 1);
    EXPECT_FALSE(disturbed.accumulator.window_open());
    EXPECT_EQ(disturbed.accumulator.counters().update, 1);
    disturbed.window(good(device, 3));
    disturbed.window(good(device, 4));
    for (const std::uint64_t seed : {2, 3, 4}) undisturbed.window(good(device, seed));
    EXPECT_EQ(disturbed.accumulator.flush()->loss, undisturbed.accumulator.flush()->loss);
    EXPECT_EQ(bits_of(disturbed.parameters.master()), bits_of(undisturbed.parameters.master()));
  }
}

TEST_F(LateReports, DroppingAWindowTellsWhatTheOneBeforeHasMet) {
  for (const Device device : late_devices()) {
    Late late(device);
    late.window(bad(device));
    late.accumulator.open_window(2);
    late.micro_batch(good(device, 2));
    EXPECT_THAT(error_message([&] { late.accumulator.drop_window(); }, ErrorKind::bad_data), HasSubstr("1000"));
    EXPECT_EQ(late.accumulator.next_window(), 0);
    late.window(good(device, 2));
    EXPECT_EQ(late.accumulator.flush()->outcome, Outcome::updated);
  }
}

TEST_F(LateReports, CountersStateAndFlushHaveTheirPlaces) {
  for (const Device device : devices()) {
    Late late(device);
    late.window(good(device, 1));
    EXPECT_THAT(error_message([&] { late.accumulator.counters(); }), HasSubstr("before flush()"));
    EXPECT_THAT(error_message([&] { late.accumulator.state(); }), HasSubstr("before flush()"));
    late.accumulator.open_window(2);
    late.micro_batch(good(device, 1));
    EXPECT_EQ(late.accumulator.flush()->window, 0);  // inside the next one, which goes on
    EXPECT_EQ(late.accumulator.counters().window, 1);
    EXPECT_EQ(late.accumulator.state().micro_in_window, 1);
    EXPECT_FALSE(late.accumulator.flush().has_value());
    late.micro_batch(good(device, 1));
    EXPECT_EQ(late.accumulator.flush()->window, 1);
    EXPECT_EQ(late.accumulator.counters().window, 2);
  }
}

// Resumed after it has given up, a run has its patience again, and an empty window is no overflow.
TEST_F(LateReports, ARestoredRunHasItsPatienceAgain) {
  for (const Device device : devices()) {
    Late late(device);
    Accumulator::State state = late.accumulator.state();
    state.step.floor_overflows = 20;
    late.accumulator.restore(state);
    late.window(gpt_samples(small_gpt(), {0, 0}, 1, device));
    EXPECT_EQ(late.accumulator.flush()->outcome, Outcome::empty);
    late.window(good(device, 1));
    EXPECT_EQ(late.accumulator.flush()->outcome, Outcome::updated);
  }
}

}  // namespace
}  // namespace accrue::train::late_reports_test

// The optimizers over a ParameterStore, against five steps of torch.optim in f64 (fixtures/make_optimizers.py).
#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "optim/adamw.h"
#include "optim/sgd.h"
#include "testing/compare.h"
#include "testing/fixtures.h"
#include "testing/step_states.h"
#include "testing/sweep.h"

namespace accrue::optim::optimizer_test {
namespace {

using namespace accrue::testing;
using kernels::StepState;

// The fixture's tensors as doubles, and its metadata as numbers.
struct Fixture {
  std::map<std::string, std::vector<double>> tensors;
  std::map<std::string, double> metadata;
};

template <class T>
std::vector<double> values_in(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return {values.begin(), values.end()};
}

Fixture read_fixture() {
  std::ifstream file(fixture("optimizers.safetensors"), std::ios::binary);
  std::uint64_t header_bytes = 0;
  file.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes);
  std::string header(header_bytes, '\0');
  file.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const std::string data{std::istreambuf_iterator<char>(file), {}};
  Fixture fixture;
  const nlohmann::json parsed = nlohmann::json::parse(header);
  for (const auto& [name, entry] : parsed.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.items()) fixture.metadata[key] = std::stod(value.get<std::string>());
      continue;
    }
    const std::size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    const std::string bytes = data.substr(begin, end - begin);
    fixture.tensors[name] = entry["dtype"] == "F64" ? values_in<double>(bytes) : values_in<float>(bytes);
  }
  return fixture;
}

std::unique_ptr<Optimizer> make_optimizer(const std::string& name, const ParameterStore& store,
                                          const Fixture& fixture) {
  const auto hyper = [&](const std::string& key) { return fixture.metadata.at(name + "." + key); };
  if (name == "adamw" || name == "adam") {
    const AdamWOptions options{
        .beta1 = hyper("beta1"), .beta2 = hyper("beta2"), .eps = hyper("eps"), .weight_decay = hyper("weight_decay")};
    if (name == "adam") return std::make_unique<Adam>(store, options);
    return std::make_unique<AdamW>(store, options);
  }
  return std::make_unique<Sgd>(store, SgdOptions{.momentum = hyper("momentum"),
                                                 .nesterov = hyper("nesterov") != 0,
                                                 .weight_decay = hyper("weight_decay")});
}

class TorchParity : public ::testing::TestWithParam<std::string> {};

TEST_P(TorchParity, FiveStepsMatchTorchInF64) {
  const Fixture fixture = read_fixture();
  const auto elements = static_cast<std::int64_t>(fixture.metadata.at("elements"));
  const int steps = static_cast<int>(fixture.metadata.at("steps"));
  ParameterStore store;
  const Parameter parameter = store.add("w", {1, elements}, Initializer::zeros());  // two axes: it decays
  store.allocate(Device::cpu(), 1);
  const std::vector<double>& initial = fixture.tensors.at("initial");
  const std::vector<float> start(initial.begin(), initial.end());
  parameter.master().copy_from_host(std::span<const float>(start));

  const auto optimizer = make_optimizer(GetParam(), store, fixture);
  const std::vector<double>&gradients = fixture.tensors.at("gradients"),
        &updated = fixture.tensors.at("updated." + GetParam());
  for (int step = 0; step < steps; ++step) {
    const auto from = static_cast<std::ptrdiff_t>(step * elements),
               to = static_cast<std::ptrdiff_t>((step + 1) * elements);
    const std::vector<float> gradient(gradients.begin() + from, gradients.begin() + to);
    parameter.grad_slot().tensor.copy_from_host(std::span<const float>(gradient));
    optimizer->step(
        step_state_of({.apply = 1,
                       .factor = 1,
                       .learning_rate = static_cast<float>(fixture.metadata.at(GetParam() + ".learning_rate")),
                       .update = step}));
    const std::vector<double> expected(updated.begin() + from, updated.begin() + to);
    EXPECT_LE(relative_error(to_doubles(parameter.master()), expected), 1e-6) << "step " << step;
    // Element by element: up to this step at most 16 roundings a step, of the largest value that the element has had.
    std::vector<double> bounds;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      double largest = std::abs(initial[i]), moved = 0, before = initial[i];
      for (int s = 0; s <= step; ++s) {
        const double after = updated[static_cast<std::size_t>(s * elements) + i];
        largest = std::max(largest, std::abs(after));
        moved += std::abs(after - before) + 0.1 * std::abs(gradients[static_cast<std::size_t>(s * elements) + i]);
        before = after;
      }
      bounds.push_back((step + 1) * 16 * unit_roundoff(DType::f32) * (largest + moved));
    }
    EXPECT_TRUE(within(parameter.master(), expected, bounds)) << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Optimizers, TorchParity,
                         ::testing::Values("adamw", "adam", "sgd", "sgd_momentum", "sgd_nesterov"),
                         [](const auto& optimizer) { return optimizer.param; });

// A weight that decays, a bias that does not, with gradients of zero and of one.
struct TwoGroups {
  ParameterStore store;
  Parameter weight = store.add("weight", {3, 5}, Initializer::ones());
  Parameter bias = store.add("bias", {7}, Initializer::ones());

  explicit TwoGroups(DType compute = DType::f32) {
    store.allocate(Device::cpu(), 1, compute);
    store.settle_gradients();
  }
};

StepState one_step(float learning_rate = 0.5f) { return {.apply = 1, .factor = 1, .learning_rate = learning_rate}; }

TEST(Optimizer, DecayReachesOnlyTheGroupThatDecays) {
  for (const bool adam : {true, false}) {
    TwoGroups model;
    std::unique_ptr<Optimizer> optimizer;
    if (adam) optimizer = std::make_unique<AdamW>(model.store, AdamWOptions{.weight_decay = 0.5});
    if (!adam) optimizer = std::make_unique<Sgd>(model.store, SgdOptions{.weight_decay = 0.5});
    optimizer->step(step_state_of(one_step()));
    EXPECT_EQ(model.weight.master().to_vector<float>(), std::vector<float>(15, 0.75f));
    EXPECT_EQ(model.bias.master().to_vector<float>(), std::vector<float>(7, 1.0f));
  }
}

TEST(Optimizer, WritesTheComputeCopy) {
  for (const DType dtype : {DType::bf16, DType::f16}) {
    TwoGroups model(dtype);
    AdamW optimizer(model.store, {.weight_decay = 0.001});
    optimizer.step(step_state_of(one_step(0.3f)));
    const std::vector<float> master = model.store.master().to_vector<float>();
    EXPECT_EQ(to_doubles(model.store.values()), to_doubles(tensor_of(master, model.store.master().shape(), dtype)));
    EXPECT_NE(model.weight.master().to_vector<float>()[0], 1.0f);
  }
}

TEST(Optimizer, PaddingStaysZero) {
  TwoGroups model;
  const std::vector<float> ones(15, 1.0f), sevens(7, 1.0f);
  model.weight.grad().copy_from_host(std::span<const float>(ones));
  model.bias.grad().copy_from_host(std::span<const float>(sevens));
  AdamW optimizer(model.store, {.weight_decay = 0.1});
  optimizer.step(step_state_of(one_step()));
  const std::vector<float> flat = model.store.master().to_vector<float>();
  ASSERT_EQ(flat.size(), 32u);
  EXPECT_EQ(flat[15], 0);
  for (std::size_t i = 16 + 7; i < 32; ++i) EXPECT_EQ(flat[i], 0) << i;
}

TEST(Optimizer, StateTensorsRestoreARun) {
  // Three steps in one go, and three steps with the state carried over to a new optimizer after the first.
  const auto gradient = random_floats(15, 3);
  const auto run = [&](bool resume) {
    TwoGroups model;
    model.weight.grad().copy_from_host(std::span<const float>(gradient));
    auto optimizer = std::make_unique<AdamW>(model.store);
    for (int update = 0; update < 3; ++update) {
      StepState state = one_step(0.1f);
      state.update = update;
      optimizer->step(step_state_of(state));
      if (!resume || update != 0) continue;
      auto next = std::make_unique<AdamW>(model.store);
      const auto from = optimizer->state_tensors(), to = next->state_tensors();
      for (std::size_t i = 0; i < from.size(); ++i) to[i].tensor.copy_from(from[i].tensor);
      optimizer = std::move(next);
    }
    return model.store.master().to_vector<float>();
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(Optimizer, NamesItsState) {
  TwoGroups model;
  const AdamW adamw(model.store);
  EXPECT_EQ(adamw.name(), "adamw");
  ASSERT_EQ(adamw.state_tensors().size(), 2u);
  EXPECT_EQ(adamw.state_tensors()[0].name, "m");
  EXPECT_EQ(adamw.state_tensors()[1].name, "v");
  for (const NamedTensor& state : adamw.state_tensors())
    EXPECT_EQ(state.tensor.to_vector<float>(), std::vector<float>(32, 0.0f));
  EXPECT_EQ(Adam(model.store).name(), "adam");

  EXPECT_TRUE(Sgd(model.store).state_tensors().empty());
  const Sgd sgd(model.store, {.momentum = 0.5});
  EXPECT_EQ(sgd.name(), "sgd");
  ASSERT_EQ(sgd.state_tensors().size(), 1u);
  EXPECT_EQ(sgd.state_tensors()[0].name, "momentum");
}

TEST(Optimizer, StateIsAccountedAsOptimizerMemory) {
  TwoGroups model;
  Allocator& allocator = Allocator::of(Device::cpu());
  const std::size_t before = allocator.stats()[Category::optimizer].live;
  const AdamW adamw(model.store);
  EXPECT_EQ(allocator.stats()[Category::optimizer].live - before, 2u * 32 * sizeof(float));
}

TEST(Optimizer, RefusesHyperParametersOutsideTheirRange) {
  TwoGroups model;
  const double nan = std::nan(""), inf = std::numeric_limits<double>::infinity();
  const auto adamw = [&](const AdamWOptions& options) {
    return error_message([&] { AdamW(model.store, options); }, ErrorKind::usage);
  };
  EXPECT_EQ(adamw({.beta1 = 1}), "adamw: beta1 must be at least 0 and less than 1, but is 1");
  EXPECT_EQ(adamw({.beta1 = -0.1}), "adamw: beta1 must be at least 0 and less than 1, but is -0.1");
  EXPECT_EQ(adamw({.beta2 = nan}), "adamw: beta2 must be at least 0 and less than 1, but is nan");
  EXPECT_EQ(adamw({.eps = 0}), "adamw: eps must be a positive number, but is 0");
  EXPECT_EQ(adamw({.eps = inf}), "adamw: eps must be a positive number, but is inf");
  EXPECT_EQ(adamw({.weight_decay = -1}), "adamw: the weight decay must be a number that is not negative, but is -1");
  EXPECT_EQ(error_message([&] { Adam(model.store, {.weight_decay = 0.1}); }, ErrorKind::usage),
            "adam: has no weight decay, but 0.1 is asked for; use adamw");
  const auto sgd = [&](const SgdOptions& options) {
    return error_message([&] { Sgd(model.store, options); }, ErrorKind::usage);
  };
  EXPECT_EQ(sgd({.momentum = 1}), "sgd: the momentum must be at least 0 and less than 1, but is 1");
  EXPECT_EQ(sgd({.weight_decay = inf}), "sgd: the weight decay must be a number that is not negative, but is inf");
  EXPECT_EQ(sgd({.nesterov = true}), "sgd: Nesterov's form needs a momentum, but the momentum is 0");
  ParameterStore empty;
  EXPECT_EQ(error_message([&] { AdamW{empty}; }),
            "adamw: the parameters must be allocated before the optimizer is made");
  EXPECT_EQ(error_message([&] { Sgd{empty}; }), "sgd: the parameters must be allocated before the optimizer is made");
}

}  // namespace
}  // namespace accrue::optim::optimizer_test

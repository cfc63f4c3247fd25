#include "core/parameter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "core/rng.h"
#include "testing/compare.h"

namespace accrue::parameter_test {
namespace {

using testing::error_message;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();

// Two matrices and two vectors whose sizes are no multiples of a slice's alignment (16 elements).
struct SmallModel : ::testing::Test {
  ParameterStore store;
  Parameter bias = store.add("bias", {5}, Initializer::uniform(0.5f));
  Parameter weight = store.add("weight", {3, 7}, Initializer::normal(0.02f));
  Parameter gamma = store.add("gamma", {17}, Initializer::ones());
  Parameter table = store.add("table", {4, 4}, Initializer::zeros());
};

// Elements of the flat buffers that belong to no parameter.
std::vector<std::int64_t> padding(const ParameterStore& store) {
  std::set<std::int64_t> rest;
  for (std::int64_t i = 0; i < store.master().numel(); ++i) rest.insert(i);
  for (const Parameter& p : store.parameters()) {
    const std::int64_t start = (p.master().raw() - store.master().raw()) / static_cast<std::int64_t>(sizeof(float));
    for (std::int64_t i = 0; i < p.shape().numel(); ++i)
      EXPECT_EQ(rest.erase(start + i), 1u) << p.name() << " overlaps";
  }
  return {rest.begin(), rest.end()};
}

TEST_F(SmallModel, SlicesOfTheFlatBuffersAreAlignedAndDisjointDecayingOnesFirst) {
  store.allocate(Device::cpu(), 1);
  const auto offset = [&](const Parameter& p) { return (p.master().raw() - store.master().raw()) / 4; };
  EXPECT_EQ(offset(weight), 0);  // 21 elements, padded to 32
  EXPECT_EQ(offset(table), 32);  // 16
  EXPECT_EQ(offset(bias), 48);   // 5, padded to 16
  EXPECT_EQ(offset(gamma), 64);  // 17, padded to 32
  EXPECT_EQ(store.master().numel(), 96);
  EXPECT_EQ(padding(store).size(), 96u - (21 + 16 + 5 + 17));
  for (const Parameter& p : store.parameters())
    EXPECT_EQ(p.grad().raw() - store.gradients().raw(), p.master().raw() - store.master().raw()) << p.name();
}

TEST_F(SmallModel, GroupsAreTheTwoRunsWithAndWithoutDecay) {
  store.allocate(Device::cpu(), 1);
  const std::vector<ParameterGroup> groups = store.groups();
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_TRUE(groups[0].decay);
  EXPECT_EQ(groups[0].offset, 0);
  EXPECT_EQ(groups[0].count, 48);
  EXPECT_FALSE(groups[1].decay);
  EXPECT_EQ(groups[1].offset, 48);
  EXPECT_EQ(groups[1].count, 48);
  EXPECT_TRUE(weight.decays());
  EXPECT_FALSE(bias.decays());
}

TEST(ParameterStore, HasNoGroupWithoutParameters) {
  ParameterStore empty;
  empty.allocate(Device::cpu(), 1);
  EXPECT_TRUE(empty.groups().empty());
  EXPECT_EQ(empty.parameter_count(), 0);
  ParameterStore vectors;
  vectors.add("b", {3}, Initializer::zeros());
  vectors.allocate(Device::cpu(), 1);
  ASSERT_EQ(vectors.groups().size(), 1u);
  EXPECT_FALSE(vectors.groups()[0].decay);
}

TEST_F(SmallModel, CountsElementsWithoutPadding) { EXPECT_EQ(store.parameter_count(), 21 + 16 + 5 + 17); }

TEST_F(SmallModel, PaddingIsZeroInEveryBuffer) {
  store.allocate(Device::cpu(), 1, DType::bf16);
  const auto master = store.master().to_vector<float>(), gradients = store.gradients().to_vector<float>();
  const auto values = store.values().to_vector<bf16>();
  for (std::int64_t i : padding(store)) {
    const auto at = static_cast<std::size_t>(i);
    EXPECT_EQ(master[at], 0.0f) << i;
    EXPECT_EQ(gradients[at], 0.0f) << i;
    EXPECT_EQ(values[at].bits, 0) << i;
  }
}

TEST_F(SmallModel, PaddingStaysZeroThroughAWindow) {
  store.allocate(Device::cpu(), 1);
  for (const Parameter& p : {bias, weight}) {
    const GradSlot slot = p.grad_slot();
    std::fill_n(slot.tensor.data<float>(), slot.tensor.numel(), 3.0f);
  }
  store.settle_gradients();
  const auto gradients = store.gradients().to_vector<float>();
  for (std::int64_t i : padding(store)) EXPECT_EQ(gradients[static_cast<std::size_t>(i)], 0.0f) << i;
}

TEST_F(SmallModel, InitialValuesFollowTheirInitializer) {
  store.allocate(Device::cpu(), 1);
  EXPECT_EQ(gamma.value().to_vector<float>(), std::vector<float>(17, 1.0f));
  EXPECT_EQ(table.value().to_vector<float>(), std::vector<float>(16, 0.0f));
  for (float v : bias.value().to_vector<float>()) EXPECT_TRUE(v >= -0.5f && v < 0.5f) << v;
}

TEST(Initializer, HasTheScaleItSays) {
  ParameterStore store;
  const std::int64_t n = 1 << 16;
  const Parameter normals = store.add("normal", {n}, Initializer::normal(0.02f));
  const Parameter uniforms = store.add("uniform", {n}, Initializer::uniform(0.3f));
  store.allocate(Device::cpu(), 5);
  const auto moments = [&](const Parameter& p) {
    double mean = 0, square = 0;
    for (float v : p.value().to_vector<float>()) {
      mean += static_cast<double>(v) / static_cast<double>(n);
      square += static_cast<double>(v) * static_cast<double>(v) / static_cast<double>(n);
    }
    return std::pair(mean, square);
  };
  // Five standard errors of the mean and of the second moment of n draws.
  const auto [normal_mean, normal_square] = moments(normals);
  EXPECT_NEAR(normal_mean, 0, 5 * 0.02 / std::sqrt(n));
  EXPECT_NEAR(normal_square, 4e-4, 5 * 4e-4 * std::sqrt(2.0 / n));
  const auto [uniform_mean, uniform_square] = moments(uniforms);
  EXPECT_NEAR(uniform_mean, 0, 5 * 0.3 / std::sqrt(3.0 * n));
  EXPECT_NEAR(uniform_square, 0.03, 5 * 0.09 * std::sqrt((1.0 / 5 - 1.0 / 9) / n));
}

// Its place in the order of add() is all that a parameter's values depend on beside the seed: not the sizes, the kinds
// or the groups of the others, which decide where in the buffers it lies and how many numbers the others draw.
TEST(Initializer, DrawsDoNotDependOnTheOtherParameters) {
  const auto values_beside = [](const Shape& other, Initializer others, std::uint64_t seed) {
    ParameterStore store;
    store.add("first", other, others);
    const Parameter mine = store.add("mine", {6, 5}, Initializer::normal(1));
    store.add("last", other, others);
    store.allocate(Device::cpu(), seed);
    return mine.value().to_vector<float>();
  };
  const std::vector<float> alone = values_beside({1}, Initializer::zeros(), 3);
  EXPECT_EQ(values_beside({100, 3}, Initializer::normal(1), 3), alone);
  EXPECT_EQ(values_beside({7}, Initializer::uniform(1), 3), alone);
  EXPECT_NE(values_beside({1}, Initializer::zeros(), 4), alone);
}

TEST(Initializer, DrawsTheDocumentedRandomNumbers) {
  ParameterStore store;
  store.add("first", {1}, Initializer::zeros());
  const Parameter p = store.add("second", {4}, Initializer::normal(0.5f));
  store.allocate(Device::cpu(), 11);
  for (std::uint32_t e = 0; e < 4; ++e) {
    const Philox4 words = philox4x32({e, 0, 1, ~0u}, 11);
    EXPECT_EQ(p.value().data<float>()[e], 0.5f * normal(words[0], words[1]));
  }
}

// Checkpoints record a seed: the bits of a run's first weights must not change. The slices are longer than what is
// drawn at once.
TEST(Initializer, KeepsItsBits) {
  for (const DType compute : {DType::f32, DType::f16, DType::bf16}) {
    ParameterStore store;
    const Parameter normals = store.add("normal", {3, 4099}, Initializer::normal(0.02f));
    const Parameter uniforms = store.add("uniform", {4097}, Initializer::uniform(0.3f));
    store.allocate(Device::cpu(), 5, compute);
    const auto expect_formula = [&](const Parameter& p, std::uint32_t index, auto&& draw) {
      const std::vector<float> master = p.master().to_vector<float>();
      for (std::size_t e = 0; e < master.size(); ++e)
        ASSERT_EQ(master[e], draw(philox4x32({static_cast<std::uint32_t>(e), 0, index, ~0u}, 5))) << e;
    };
    expect_formula(normals, 0, [](const Philox4& words) { return 0.02f * normal(words[0], words[1]); });
    expect_formula(uniforms, 1, [](const Philox4& words) { return 0.3f * (2 * uniform(words[0]) - 1); });
    const auto as_compute = [&](const auto& values, const Parameter& p) {
      const std::vector<float> master = p.master().to_vector<float>();
      for (std::size_t e = 0; e < master.size(); ++e)
        ASSERT_EQ(values[e], static_cast<typename std::decay_t<decltype(values)>::value_type>(master[e])) << e;
    };
    if (compute == DType::f16) as_compute(normals.value().to_vector<f16>(), normals);
    if (compute == DType::bf16) as_compute(uniforms.value().to_vector<bf16>(), uniforms);
  }
}

TEST(ParameterStore, DrawsItsValuesWithoutMemoryBesideTheBuffers) {
  ParameterStore store;
  store.add("weight", {1000, 1000}, Initializer::uniform(1));
  Allocator& allocator = Allocator::of(Device::cpu());
  allocator.reset_peak();
  const std::size_t before = allocator.stats().total.live;
  store.allocate(Device::cpu(), 1, DType::bf16);
  EXPECT_EQ(allocator.stats().total.peak, allocator.stats().total.live);
  EXPECT_EQ(allocator.stats().total.live - before, 1'000'000u * (4 + 2 + 4));
}

TEST(ParameterStore, NumbersThePlacesThatDrawRandomNumbers) {
  ParameterStore store;
  EXPECT_EQ(store.new_random_site(), 0u);
  EXPECT_EQ(store.new_random_site(), 1u);
}

TEST(Parameter, AnUndefinedOneThrowsWhateverItIsAsked) {
  const Parameter nothing;
  const std::string message =
      "a parameter is used before its layer is registered with a ParameterStore (nn::initialize does both)";
  EXPECT_EQ(error_message([&] { nothing.name(); }), message);
  EXPECT_EQ(error_message([&] { nothing.shape(); }), message);
  EXPECT_EQ(error_message([&] { nothing.value(); }), message);
  EXPECT_EQ(error_message([&] { nothing.master(); }), message);
  EXPECT_EQ(error_message([&] { nothing.grad(); }), message);
  EXPECT_EQ(error_message([&] { nothing.grad_slot(); }), message);
  EXPECT_EQ(error_message([&] { nothing.fresh(); }), message);
  EXPECT_EQ(error_message([&] { nothing.decays(); }), message);
}

TEST_F(SmallModel, SharesValuesAndMasterInF32) {
  store.allocate(Device::cpu(), 1);
  EXPECT_EQ(weight.value().raw(), weight.master().raw());
  EXPECT_EQ(store.values().raw(), store.master().raw());
  EXPECT_EQ(store.compute_dtype(), DType::f32);
}

TEST_F(SmallModel, KeepsAnF32MasterBesideHalfPrecisionValues) {
  store.allocate(Device::cpu(), 1, DType::f16);
  EXPECT_EQ(weight.value().dtype(), DType::f16);
  EXPECT_EQ(weight.master().dtype(), DType::f32);
  EXPECT_EQ(weight.grad().dtype(), DType::f32);
  const auto master = weight.master().to_vector<float>();
  const auto values = weight.value().to_vector<f16>();
  for (std::size_t i = 0; i < master.size(); ++i) EXPECT_EQ(values[i], f16(master[i]));
}

// bf16 gradients need a way to add contributions; these tests add none.
void fold_nothing(const GradSlot&, const Tensor&) {}

TEST_F(SmallModel, GradientsAccumulateInBf16WhereAskedTo) {
  store.fold_gradients_with(fold_nothing);
  const MemoryStats before = Allocator::of(Device::cpu()).stats();
  store.allocate(Device::cpu(), 1, DType::f32, DType::bf16);
  const MemoryStats after = Allocator::of(Device::cpu()).stats();
  EXPECT_EQ(after[Category::gradients].live - before[Category::gradients].live, 96u * 2);
  EXPECT_EQ(store.accumulate_dtype(), DType::bf16);
  EXPECT_EQ(store.gradients().dtype(), DType::bf16);
  EXPECT_EQ(weight.master().dtype(), DType::f32);
  for (const Parameter& p : store.parameters()) {
    EXPECT_EQ(p.grad().dtype(), DType::bf16) << p.name();
    EXPECT_EQ(2 * (p.grad().raw() - store.gradients().raw()), p.master().raw() - store.master().raw()) << p.name();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.grad().raw()) % 16, 0u) << p.name() << ": kernels take packs";
  }
  std::fill_n(store.gradients().data<bf16>(), 96, bf16(nan));
  store.settle_gradients();
  EXPECT_EQ(weight.grad().to_vector<bf16>(), std::vector<bf16>(21, bf16(0)));
}

TEST_F(SmallModel, AddsContributionsTheFirstOfAWindowOverwriting) {
  static std::vector<Write> writes;
  writes.clear();
  store.fold_gradients_with([](const GradSlot& acc, const Tensor& contribution) {
    EXPECT_EQ(acc.tensor.shape(), contribution.shape());
    writes.push_back(acc.write);
    if (writes.size() == 3) fail(ErrorKind::memory, "no room");
  });
  store.allocate(Device::cpu(), 1, DType::f32, DType::bf16);
  const Tensor contribution = Tensor::zeros({5});
  bias.add_contribution(contribution);
  bias.add_contribution(contribution);
  EXPECT_TRUE(weight.fresh());
  store.clear_gradients();
  EXPECT_EQ(error_message([&] { bias.add_contribution(contribution); }, ErrorKind::memory), "no room");
  EXPECT_TRUE(bias.fresh()) << "nothing has arrived";
  EXPECT_EQ(writes, (std::vector{Write::overwrite, Write::accumulate, Write::overwrite}));
}

TEST_F(SmallModel, RefusesToAccumulateWhereItCannot) {
  const auto allocated = [&](DType accumulate) {
    return error_message([&] { store.allocate(Device::cpu(), 1, DType::f32, accumulate); });
  };
  EXPECT_EQ(allocated(DType::f16), "ParameterStore: gradients must accumulate in f32 or bf16, but the dtype is f16");
  EXPECT_EQ(allocated(DType::bf16),
            "ParameterStore: gradients that accumulate in bf16 need fold_gradients_with() first; nn::initialize does "
            "both");
  EXPECT_EQ(error_message([&] { bias.add_contribution(Tensor::zeros({5})); }),
            "parameter bias gets a gradient before ParameterStore::allocate()");
  store.allocate(Device::cpu(), 1);
  EXPECT_EQ(store.accumulate_dtype(), DType::f32);
  EXPECT_EQ(error_message([&] { bias.add_contribution(Tensor::zeros({5})); }),
            "parameter bias gets a contribution, but its store has no way to add it: "
            "ParameterStore::fold_gradients_with()");
  EXPECT_EQ(error_message([&] { store.fold_gradients_with(fold_nothing); }),
            "ParameterStore: fold_gradients_with() after allocate()");
}

TEST_F(SmallModel, BuffersAreAccountedByCategory) {
  const MemoryStats before = Allocator::of(Device::cpu()).stats();
  store.allocate(Device::cpu(), 1, DType::bf16);
  const MemoryStats after = Allocator::of(Device::cpu()).stats();
  EXPECT_EQ(after[Category::parameters].live - before[Category::parameters].live, 96u * (4 + 2));
  EXPECT_EQ(after[Category::gradients].live - before[Category::gradients].live, 96u * 4);
}

TEST_F(SmallModel, FirstTouchOfAWindowOverwritesSoThatANaNDoesNotSurvive) {
  store.allocate(Device::cpu(), 1);
  std::fill_n(store.gradients().data<float>(), 96, nan);
  store.clear_gradients();
  EXPECT_TRUE(std::isnan(weight.grad().data<float>()[0])) << "clearing writes nothing";
  const auto contribute = [&] {
    const GradSlot slot = weight.grad_slot();
    for (std::int64_t i = 0; i < slot.tensor.numel(); ++i) {
      float& g = slot.tensor.data<float>()[i];
      g = slot.write == Write::overwrite ? 2 : g + 2;
    }
  };
  EXPECT_TRUE(weight.fresh());
  contribute();
  EXPECT_FALSE(weight.fresh());
  contribute();
  EXPECT_EQ(weight.grad().to_vector<float>(), std::vector<float>(21, 4.0f));
}

TEST_F(SmallModel, SettlingStoresZerosOnlyWhereNothingArrived) {
  store.allocate(Device::cpu(), 1);
  std::fill_n(store.gradients().data<float>(), 96, nan);
  store.clear_gradients();
  const GradSlot slot = bias.grad_slot();
  std::fill_n(slot.tensor.data<float>(), 5, 7.0f);
  store.settle_gradients();
  EXPECT_EQ(bias.grad().to_vector<float>(), std::vector<float>(5, 7.0f));
  EXPECT_EQ(weight.grad().to_vector<float>(), std::vector<float>(21, 0.0f));
  EXPECT_EQ(gamma.grad().to_vector<float>(), std::vector<float>(17, 0.0f));
  EXPECT_EQ(weight.grad_slot().write, Write::accumulate) << "the zeros are the gradient now";
  store.settle_gradients();
  EXPECT_EQ(bias.grad().to_vector<float>(), std::vector<float>(5, 7.0f));
}

TEST_F(SmallModel, ATiedParameterIsOneParameter) {
  const Parameter head = table;
  store.allocate(Device::cpu(), 1);
  EXPECT_EQ(head.grad_slot().write, Write::overwrite);
  EXPECT_EQ(table.grad_slot().write, Write::accumulate);
  EXPECT_EQ(head.value().id(), table.value().id());
}

TEST_F(SmallModel, FindsParametersByName) {
  EXPECT_EQ(store.find("gamma").name(), "gamma");
  EXPECT_FALSE(store.find("gamm").defined());
  std::vector<std::string> names;
  for (const Parameter& p : store.parameters()) names.push_back(p.name());
  EXPECT_EQ(names, (std::vector<std::string>{"bias", "weight", "gamma", "table"}));
}

TEST_F(SmallModel, SlicesOtherBuffersOfTheSameLayout) {
  store.allocate(Device::cpu(), 1);
  const Tensor m = Tensor::zeros({96});
  const Tensor slice = store.slice(m, gamma);
  EXPECT_EQ(slice.shape(), gamma.shape());
  EXPECT_EQ(slice.raw() - m.raw(), 64 * 4);
  EXPECT_EQ(error_message([&] { store.slice(Tensor::zeros({95}), gamma); }),
            "ParameterStore: a flat buffer has 96 elements, but this one has 95");
}

TEST_F(SmallModel, RefusesNamesThatAreRepeatedOrEmpty) {
  EXPECT_EQ(error_message([&] { store.add("weight", {1}, Initializer::zeros()); }),
            "ParameterStore: two parameters are named weight");
  EXPECT_EQ(error_message([&] { store.add("", {1}, Initializer::zeros()); }),
            "ParameterStore: a parameter needs a name");
  EXPECT_EQ(store.parameters().size(), 4u);
}

TEST_F(SmallModel, RefusesWhatComesTooEarlyOrTooLate) {
  EXPECT_EQ(error_message([&] { weight.value(); }), "parameter weight is used before ParameterStore::allocate()");
  EXPECT_EQ(error_message([&] { weight.grad_slot(); }),
            "parameter weight gets a gradient before ParameterStore::allocate()");
  EXPECT_EQ(error_message([&] { store.groups(); }), "ParameterStore: groups() before allocate()");
  EXPECT_EQ(error_message([&] { store.allocate(Device::cpu(), 1, DType::i32); }),
            "ParameterStore: the compute dtype must be f32, f16 or bf16, but is i32");
  store.allocate(Device::cpu(), 1);
  EXPECT_TRUE(weight.fresh());
  EXPECT_EQ(error_message([&] { store.add("late", {1}, Initializer::zeros()); }),
            "ParameterStore: parameter late is added after allocate()");
  EXPECT_EQ(error_message([&] { store.allocate(Device::cpu(), 1); }), "ParameterStore: allocate() is called twice");
}

}  // namespace
}  // namespace accrue::parameter_test

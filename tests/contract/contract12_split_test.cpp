// Contract 12: the gradient of a window does not depend on how it is cut.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <string_view>

#include "kernels/matmul_precision.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"
#include "train/verify.h"

namespace accrue::testing {
namespace {

using Gpt = Training<nn::Gpt>;
using Mlp = Training<nn::Mlp>;

struct Setting {
  float dropout;
  bool recompute;
};

class Contract12 : public ::testing::TestWithParam<Setting> {
 protected:
  static nn::GptConfig config() {
    nn::GptConfig config = small_gpt(GetParam().dropout);
    config.recompute = GetParam().recompute;
    return config;
  }
};

TEST_P(Contract12, SplittingAWindowMovesTheGradientByAtMostOneInAMillion) {
  for (const Device device : devices()) {
    const std::vector<std::int64_t> accumulations =
        is_emulated(device) ? std::vector<std::int64_t>{2, 4, 16} : std::vector<std::int64_t>{2, 4, 16, 64};
    const std::int64_t count = accumulations.back();
    const Samples samples = gpt_samples(config(), unequal_counts(count), 1, device);
    Gpt whole{nn::Gpt(config()), device};
    whole.window(samples);
    for (const std::int64_t accumulation : accumulations) {
      Gpt split{nn::Gpt(config()), device};
      const auto report = split.window(samples, cut_evenly(count, count / accumulation));
      EXPECT_EQ(report.micro_batches, accumulation);
      EXPECT_LE(relative_error(split.gradient(), whole.gradient()), train::split_equivalence_bound(accumulation))
          << "K = " << accumulation;
    }
  }
}

TEST_P(Contract12, RaggedSplitsToo) {
  for (const Device device : devices()) {
    const Samples samples = gpt_samples(config(), unequal_counts(13), 2, device);
    Gpt whole{nn::Gpt(config()), device};
    whole.window(samples);
    for (const std::vector<std::int64_t>& cut :
         std::vector<std::vector<std::int64_t>>{{12, 1}, {1, 12}, {5, 5, 3}, {1, 2, 3, 7}, cut_evenly(13, 1)}) {
      Gpt split{nn::Gpt(config()), device};
      split.window(samples, cut);
      EXPECT_LE(relative_error(split.gradient(), whole.gradient()), train::split_equivalence_bound(std::ssize(cut)))
          << cut.size() << " parts";
    }
  }
}

TEST(Contract12Long, TheBoundIsConstantUpTo1024MicroBatchesAndGrowsWithTheSquareRootBeyond) {
  EXPECT_DOUBLE_EQ(train::split_equivalence_bound(1), 1e-6);
  EXPECT_DOUBLE_EQ(train::split_equivalence_bound(1024), 1e-6);
  EXPECT_DOUBLE_EQ(train::split_equivalence_bound(4096), 2e-6);
}

TEST(Contract12Long, HoldsForWindowsOfManyMicroBatches) {
  const nn::GptConfig tiny{.vocabulary = 13, .context = 8, .layers = 1, .heads = 1, .width = 8};
  for (const Device device : devices()) {
    for (const std::int64_t accumulation :
         is_emulated(device) ? std::vector<std::int64_t>{48} : std::vector<std::int64_t>{1024, 4096}) {
      const Samples samples = gpt_samples(tiny, unequal_counts(accumulation), 4, device);
      Gpt whole{nn::Gpt(tiny), device}, split{nn::Gpt(tiny), device};
      // A GPU's library may sum a product's terms one after the other: with tens of thousands of them the reference
      // would be the one that is off.
      device.kind == DeviceKind::cpu ? whole.window(samples) : whole.window(samples, cut_evenly(accumulation, 16));
      split.window(samples, cut_evenly(accumulation, 1));
      EXPECT_LE(relative_error(split.gradient(), whole.gradient()), train::split_equivalence_bound(accumulation))
          << "K = " << accumulation;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Gpt, Contract12,
                         ::testing::Values(Setting{0, false}, Setting{0.2f, false}, Setting{0, true},
                                           Setting{0.2f, true}),
                         [](const auto& setting) {
                           return std::string(setting.param.dropout > 0 ? "WithDropout" : "WithoutDropout") +
                                  (setting.param.recompute ? "AndRecomputation" : "");
                         });

// On the CPU alone: a sample's rows have the same bits in any micro-batch there, and so their rounded values have.
// Where they differ by an ulp, as on a GPU, one side of a tie rounds up and the other down.
TEST_P(Contract12, HoldsForProductsInBf16) {
  if (!kernels::cpu_multiplies_bf16() && std::string_view(ACCRUE_GEMM) != "oneDNN")
    GTEST_SKIP() << "another BLAS gives a row other bits among other rows";
  const kernels::ProductsIn bf16(kernels::MatmulPrecision::bf16);
  constexpr std::int64_t count = 16;
  const Samples samples = gpt_samples(config(), unequal_counts(count), 5);
  Gpt whole{nn::Gpt(config())};
  whole.window(samples);
  for (const std::int64_t accumulation : {2, 4, 16}) {
    Gpt split{nn::Gpt(config())};
    split.window(samples, cut_evenly(count, count / accumulation));
    EXPECT_LE(relative_error(split.gradient(), whole.gradient()), train::split_equivalence_bound(accumulation))
        << "K = " << accumulation;
  }
}

TEST(Contract12Weights, AnUpdateFromASplitWindowGivesTheSameWeights) {
  for (const Device device : devices()) {
    // eps well above the gradient's rounding noise: where a gradient is zero in exact arithmetic (the key bias), Adam's
    // first step is g / (|g| + eps), which a tiny eps turns from noise into +-1.
    const optim::AdamWOptions adam{.eps = 1e-3};
    const Samples samples = gpt_samples(small_gpt(), unequal_counts(8), 3, device);
    Gpt whole{nn::Gpt(small_gpt()), device, {.max_norm = 1.0}, adam},
        split{nn::Gpt(small_gpt()), device, {.max_norm = 1.0}, adam};
    for (int update = 0; update < 3; ++update) {
      whole.window(samples);
      split.window(samples, cut_evenly(8, 1));
    }
    // Each step moves a weight by at most rate * (relative error of g) * g / (g + eps): far below the weights' own
    // roundoff, which is what remains, once per update.
    EXPECT_LE(relative_error(to_doubles(split.parameters.master()), to_doubles(whole.parameters.master())), 3 * 2 * u);
  }
}

// Random layers, samples, masks and cuts. Every sample is one row, whose forward and backward bits are the same in any
// micro-batch; so any order of adding R rows in K parts errs by at most (R + K) u of the sum of the rows' absolute
// terms, and so does the unsplit window.
RC_GTEST_PROP(Contract12Property, AnyCutOfAnyMlpWindowHasTheGradientOfTheWholeWindow, ()) {
  std::vector<std::int64_t> widths = *rc::gen::container<std::vector<std::int64_t>>(
      *rc::gen::inRange<std::size_t>(2, 5), rc::gen::inRange<std::int64_t>(1, 40));
  const auto count = *rc::gen::inRange<std::int64_t>(1, 24);
  const auto seed = *rc::gen::inRange<std::uint64_t>(0, 100000);
  const float dropout = *rc::gen::element(0.0f, 0.3f);
  Samples samples = class_samples(count, widths.front(), widths.back(), seed);
  auto targets = samples.targets.to_vector<std::int32_t>();
  for (auto& target : targets)
    if (*rc::gen::inRange(0, 3) == 0) target = -1;
  samples.targets.copy_from_host(std::span<const std::int32_t>(targets));
  std::vector<std::int64_t> cut;
  for (std::int64_t left = count; left > 0; left -= cut.back())
    cut.push_back(*rc::gen::inRange<std::int64_t>(1, left + 1));

  Mlp whole{nn::Mlp(widths, dropout)}, split{nn::Mlp(widths, dropout)},
      single{nn::Mlp(widths, dropout), Device::cpu(), {.accumulation = count}};
  const auto expected = whole.window(samples), report = split.window(samples, cut);
  RC_ASSERT(report.targets == expected.targets);

  // The rows' absolute terms, one after the other: differences of the running sums of a third run.
  std::vector<double> running(whole.recorder.last_sums.size()), magnitude(running.size());
  for (std::int64_t s = 0; s < count; ++s) {
    single.micro_batch(samples.part(s, 1));
    std::size_t i = 0;
    for (const Parameter& parameter : single.parameters.parameters()) {
      for (const double value : to_doubles(parameter.grad())) {
        magnitude[i] += std::abs(value - running[i]);
        running[i++] = value;
      }
    }
  }
  for (std::size_t i = 0; i < magnitude.size(); ++i) {
    const double bound = 2 * static_cast<double>(count + std::ssize(cut)) * u * magnitude[i];
    const double difference = std::abs(split.recorder.last_sums[i] - whole.recorder.last_sums[i]);
    if (!(difference <= bound)) RC_FAIL(fmt::format("element {} differs by {}, bound {}", i, difference, bound));
  }
}

}  // namespace
}  // namespace accrue::testing

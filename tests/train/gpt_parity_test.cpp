// Three updates of a small GPT-2 against the answers that PyTorch computed in fp64 (tests/fixtures/README.md).
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "nn/gpt.h"
#include "tests/testing/sweep.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/safetensors.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;

template <class T>
std::vector<T> values_of(const SafetensorsFile& file, const std::string& name) {
  const auto bytes = file.get(name).data;
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<double> doubles_of(const SafetensorsFile& file, const std::string& name) {
  const std::vector<float> values = to_floats(file.get(name));
  return {values.begin(), values.end()};
}

class GptParity : public ::testing::TestWithParam<std::int64_t> {
 protected:
  double number(const std::string& key) const { return std::strtod(file.metadata().at(key).c_str(), nullptr); }
  std::int64_t integer(const std::string& key) const {
    return std::strtoll(file.metadata().at(key).c_str(), nullptr, 10);
  }

  Samples window(std::int64_t index, Device device) const {
    const auto tokens = values_of<std::int32_t>(file, "tokens"), targets = values_of<std::int32_t>(file, "targets");
    const Shape shape{integer("micro_batches") * integer("micro_batch"), integer("context")};
    const auto first = static_cast<std::size_t>(index * shape.numel()), count = static_cast<std::size_t>(shape.numel());
    return {.inputs = Tensor::from(std::span(tokens).subspan(first, count), shape, device),
            .targets = Tensor::from(std::span(targets).subspan(first, count), shape, device)};
  }

  const SafetensorsFile file{fixture("gpt_parity.safetensors")};
};

TEST_P(GptParity, LossGradientsAndThreeUpdatesMatchPyTorch) {
  for (const Device device : devices()) {
    const nn::GptConfig config{.vocabulary = integer("vocab"),
                               .context = integer("context"),
                               .layers = integer("layers"),
                               .heads = static_cast<int>(integer("heads")),
                               .width = integer("width")};
    Training<nn::Gpt> training{nn::Gpt(config),
                               device,
                               {.schedule = {.peak = number("learning_rate")}, .max_norm = number("max_norm")},
                               optim::AdamWOptions{.beta1 = number("beta1"),
                                                   .beta2 = number("beta2"),
                                                   .eps = number("adam_eps"),
                                                   .weight_decay = number("weight_decay")}};
    const std::vector<Parameter>& parameters = training.parameters.parameters();
    for (const Parameter& parameter : parameters) {
      const std::vector<float> initial = to_floats(file.get("initial." + parameter.name()));
      parameter.master().copy_from_host(std::span<const float>(initial));
    }
    const double tolerance = number("tolerance");
    const auto losses = values_of<double>(file, "loss"), norms = values_of<double>(file, "grad_norm");
    for (std::int64_t update = 0; update < 3; ++update) {
      const Samples samples = window(update, device);
      const WindowReport report = training.window(samples, cut_evenly(samples.count(), samples.count() / GetParam()));
      EXPECT_EQ(report.micro_batches, GetParam());
      const auto index = static_cast<std::size_t>(update);
      EXPECT_NEAR(report.loss, losses[index], tolerance * losses[index]);
      EXPECT_NEAR(report.grad_norm, norms[index], tolerance * norms[index]);
      if (update > 0) continue;
      const std::vector<double> gradient = training.gradient();
      auto next = gradient.begin();
      for (const Parameter& parameter : parameters) {
        const auto end = next + parameter.shape().numel();
        EXPECT_LE(relative_error({next, end}, doubles_of(file, "grad." + parameter.name())), tolerance)
            << parameter.name();
        next = end;
      }
    }
    for (const Parameter& parameter : parameters)
      EXPECT_LE(relative_error(to_doubles(parameter.master()), doubles_of(file, "updated." + parameter.name())),
                tolerance)
          << parameter.name();
  }
}

TEST_P(GptParity, TheFixtureCoversEveryParameter) {
  nn::Gpt model({.vocabulary = integer("vocab"),
                 .context = integer("context"),
                 .layers = integer("layers"),
                 .heads = 2,
                 .width = integer("width")});
  ParameterStore parameters;
  model.register_into(nn::Registry(parameters));
  std::size_t gradients = 0;
  for (const SafetensorsEntry& entry : file.entries()) gradients += entry.name.starts_with("grad.") ? 1 : 0;
  EXPECT_EQ(gradients, parameters.parameters().size());
}

// 12 samples at once; 4 micro-batches of 3 with 24, 1, 9, 3 targets and the like, one of them without any; one by one.
INSTANTIATE_TEST_SUITE_P(Accumulation, GptParity, ::testing::Values(1, 4, 12));

}  // namespace
}  // namespace accrue::train

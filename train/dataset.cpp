#include "train/dataset.h"

#include <array>
#include <cmath>
#include <vector>

namespace accrue::train {

Batch TextDataset::batch(std::span<const std::int64_t> indices, Device device) const {
  const auto count = static_cast<std::int64_t>(indices.size());
  const auto context = static_cast<std::size_t>(samples_.context());
  std::vector<std::int32_t> tokens(indices.size() * context), targets(tokens.size());
  for (std::size_t i = 0; i < indices.size(); ++i)
    samples_.copy(indices[i], std::span(tokens).subspan(i * context, context),
                  std::span(targets).subspan(i * context, context));
  const Shape shape{count, samples_.context()};
  return {.inputs = Tensor::from<std::int32_t>(tokens, shape, device),
          .targets = Tensor::from<std::int32_t>(targets, shape, device)};
}

ImageDataset::Moments ImageDataset::moments_of(const LabelledImages& images) {
  std::array<double, 256> count_of{};
  for (const std::uint8_t pixel : images.pixels) ++count_of[pixel];
  const auto count = static_cast<double>(images.pixels.size());
  double mean = 0, variance = 0;
  for (std::size_t value = 0; value < 256; ++value) mean += static_cast<double>(value) * count_of[value];
  mean /= count;
  // From the differences: mean square minus squared mean cancels to a tiny remainder when all pixels are alike.
  for (std::size_t value = 0; value < 256; ++value) {
    const double difference = static_cast<double>(value) - mean;
    variance += difference * difference * count_of[value] / count;
  }
  // A set of equal pixels has nothing to standardise.
  const double deviation = variance > 0 ? std::sqrt(variance) / 255 : 1;
  return {.mean = static_cast<float>(mean / 255), .deviation = static_cast<float>(deviation)};
}

Batch ImageDataset::batch(std::span<const std::int64_t> indices, Device device) const {
  const auto count = static_cast<std::int64_t>(indices.size());
  const auto pixels_each = static_cast<std::size_t>(pixels());
  std::vector<float> inputs(indices.size() * pixels_each);
  std::vector<std::int32_t> targets(indices.size());
  const float gain = 1 / (255 * moments_.deviation), offset = moments_.mean / moments_.deviation;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const auto index = static_cast<std::size_t>(indices[i]);
    const std::uint8_t* source = images_.pixels.data() + index * pixels_each;
    float* destination = inputs.data() + i * pixels_each;
    for (std::size_t p = 0; p < pixels_each; ++p) destination[p] = static_cast<float>(source[p]) * gain - offset;
    targets[i] = images_.labels[index];
  }
  return {.inputs = Tensor::from<float>(inputs, {count, pixels()}, device),
          .targets = Tensor::from<std::int32_t>(targets, {count}, device)};
}

}  // namespace accrue::train

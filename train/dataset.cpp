#include "train/dataset.h"

#include <cmath>
#include <vector>

namespace accrue::train {

Batch TextDataset::batch(std::span<const std::int64_t> indices, Device device) const {
  const auto count = static_cast<std::int64_t>(indices.size());
  const auto context = static_cast<std::size_t>(samples_.context());
  std::vector<std::int32_t> tokens(indices.size() * context), targets(tokens.size());
  for (std::size_t i = 0; i < indices.size(); ++i)
    samples_.copy(indices[i], std::span(tokens).subspan(i * context, context), std::span(targets).subspan(i * context, context));
  const Shape shape{count, samples_.context()};
  return {.inputs = Tensor::from<std::int32_t>(tokens, shape, device), .targets = Tensor::from<std::int32_t>(targets, shape, device)};
}

ImageDataset::Moments ImageDataset::moments_of(const LabelledImages& images) {
  double sum = 0, squares = 0;
  for (const std::uint8_t pixel : images.pixels) {
    sum += pixel;
    squares += double{1} * pixel * pixel;
  }
  const double count = static_cast<double>(images.pixels.size()) * 255, mean = sum / count;
  const double variance = squares / (count * 255) - mean * mean;
  // A set of equal pixels has nothing to standardise.
  return {.mean = static_cast<float>(mean), .deviation = variance > 0 ? static_cast<float>(std::sqrt(variance)) : 1.0f};
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

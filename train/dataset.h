// Data sets as the trainer sees them: a number of samples, and batches of any of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/tensor.h"
#include "train/idx.h"
#include "train/token_data.h"

namespace accrue::train {

struct Batch {
  Tensor inputs;   // axis 0 is the sample
  Tensor targets;  // i32, one a row of the loss
  std::int64_t samples() const { return inputs.shape()[0]; }
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;  // samples, at least 1
  // The samples of these indices, in this order.
  virtual Batch batch(std::span<const std::int64_t> indices, Device device) const = 0;
  // What throughput counts: positions of a sample (tokens of a text, 1 for an image).
  virtual std::int64_t positions_per_sample() const = 0;
  virtual const char* unit() const { return "samples"; }  // what a position is called
};

// Samples of a text: inputs and targets i32 [samples, context].
class TextDataset final : public Dataset {
 public:
  explicit TextDataset(TokenSamples samples) : samples_(samples) {}
  std::int64_t size() const override { return samples_.size(); }
  Batch batch(std::span<const std::int64_t> indices, Device device) const override;
  std::int64_t positions_per_sample() const override { return samples_.context(); }
  const char* unit() const override { return "tokens"; }

 private:
  TokenSamples samples_;
};

// Labelled images: inputs f32 [samples, pixels], each pixel p in [0, 255] standardised to (p / 255 - mean) / deviation
// with the given moments; targets i32 [samples].
class ImageDataset final : public Dataset {
 public:
  struct Moments {
    float mean = 0;
    float deviation = 1;
  };
  ImageDataset(LabelledImages images, Moments moments) : images_(std::move(images)), moments_(moments) {}
  // Mean and standard deviation over all pixels, scaled to [0, 1].
  static Moments moments_of(const LabelledImages& images);

  std::int64_t size() const override { return images_.count; }
  Batch batch(std::span<const std::int64_t> indices, Device device) const override;
  std::int64_t positions_per_sample() const override { return 1; }
  std::int64_t pixels() const { return images_.rows * images_.columns; }

 private:
  LabelledImages images_;
  Moments moments_;
};

}  // namespace accrue::train

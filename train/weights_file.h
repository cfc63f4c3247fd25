// Parameters in safetensors files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "optim/optimizer.h"
#include "train/safetensors.h"

namespace accrue::train {

// A tensor with the name it has in a file.
struct FileTensor {
  std::string name;
  Tensor tensor;  // f32
};

// Writes f32 tensors; "format": "pt" in the metadata is what Hugging Face's loader asks for.
SafetensorsWriter writer_of(const std::vector<FileTensor>& tensors);
void write_tensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors);

// The tensors of a file that are to fill some of the model's, found to fit. Nothing is overwritten before load(), so
// that several files can be checked before the first of them changes anything.
class FittingTensors {
 public:
  // Every tensor must be in the file with its exact shape; names of the file that nobody asked for and `ignorable` does
  // not accept are an error. Throws Error(no_input), or Error(bad_data) naming the tensor, what was needed and what the
  // file has.
  FittingTensors(const std::filesystem::path& path, std::vector<FileTensor> tensors,
                 const std::function<bool(const std::string&)>& ignorable = {});
  void load() const;

 private:
  SafetensorsFile file_;
  std::vector<FileTensor> tensors_;
};

// After the master values were loaded: what forward and backward read follows them.
void refresh_compute_copy(const ParameterStore& parameters);

// The f32 master values of all parameters, by name.
std::vector<FileTensor> parameter_tensors(const ParameterStore& parameters);
// The optimizer's flat buffers cut into one tensor a parameter: "m.h.0.ln_1.weight".
std::vector<FileTensor> optimizer_tensors(const ParameterStore& parameters, optim::Optimizer& optimizer);

}  // namespace accrue::train

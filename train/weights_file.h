// Parameters in safetensors files.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "optim/optimizer.h"

namespace accrue::train {

// A tensor with the name it has in a file.
struct FileTensor {
  std::string name;
  Tensor tensor;  // f32
};

// Writes f32 tensors; "format": "pt" in the metadata is what Hugging Face's loader asks for.
void write_tensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors);
// Fills the tensors from the file; every one must be there with its exact shape. `alias` maps a name to the one in the file;
// names of the file that `ignorable` does not accept and nobody asked for are an error.
// Throws Error(bad_data) naming the tensor, what was needed and what the file has.
void read_tensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors,
                  const std::function<bool(const std::string&)>& ignorable = {});

// The f32 master values of all parameters, by name.
std::vector<FileTensor> parameter_tensors(const ParameterStore& parameters);
// The optimizer's flat buffers cut into one tensor a parameter: "m.h.0.ln_1.weight".
std::vector<FileTensor> optimizer_tensors(const ParameterStore& parameters, optim::Optimizer& optimizer);

}  // namespace accrue::train

#include "train/weights_file.h"

#include <set>
#include <utility>

#include "kernels/cast.h"
#include "train/printable.h"

namespace accrue::train {

SafetensorsWriter writer_of(const std::vector<FileTensor>& tensors) {
  SafetensorsWriter writer;
  writer.metadata("format", "pt");
  for (const FileTensor& tensor : tensors) writer.add(tensor.name, tensor.tensor);
  return writer;
}

void write_tensors(const std::filesystem::path& path, const std::vector<FileTensor>& tensors) {
  writer_of(tensors).write(path);
}

FittingTensors::FittingTensors(const std::filesystem::path& path, std::vector<FileTensor> tensors,
                               const std::function<bool(const std::string&)>& ignorable)
    : file_(path), tensors_(std::move(tensors)) {
  std::set<std::string> wanted;
  for (const FileTensor& tensor : tensors_) {
    wanted.insert(tensor.name);
    const SafetensorsEntry* entry = file_.find(tensor.name);
    if (entry == nullptr)
      fail(ErrorKind::bad_data, "{}: tensor '{}' of shape {} is missing; is this a checkpoint of another model?",
           path.string(), tensor.name, tensor.tensor.shape());
    if (entry->shape != tensor.tensor.shape())
      fail(ErrorKind::bad_data,
           "{}: tensor '{}' has shape {}, but the model needs {}; is this a checkpoint of another model?",
           path.string(), tensor.name, entry->shape, tensor.tensor.shape());
    if (!is_float(entry->dtype))
      fail(ErrorKind::bad_data, "{}: tensor '{}' has dtype {}, but weights are F64, F32, F16 or BF16", path.string(),
           tensor.name, name_of(entry->dtype));
  }
  for (const SafetensorsEntry& entry : file_.entries()) {
    if (!wanted.contains(entry.name) && !(ignorable && ignorable(entry.name)))
      fail(ErrorKind::bad_data,
           "{}: tensor '{}' belongs to no part of the model; is this a checkpoint of another model?", path.string(),
           printable(entry.name));
  }
}

void FittingTensors::load() const {
  for (const FileTensor& tensor : tensors_) {
    const std::vector<float> values = to_floats(*file_.find(tensor.name));
    tensor.tensor.copy_from_host(std::span<const float>(values));
  }
}

void refresh_compute_copy(const ParameterStore& parameters) {
  if (parameters.compute_dtype() != DType::f32) kernels::cast({.out = parameters.values(), .x = parameters.master()});
}

std::vector<FileTensor> parameter_tensors(const ParameterStore& parameters) {
  std::vector<FileTensor> tensors;
  for (const Parameter& parameter : parameters.parameters())
    tensors.push_back({.name = parameter.name(), .tensor = parameter.master()});
  return tensors;
}

std::vector<FileTensor> optimizer_tensors(const ParameterStore& parameters, optim::Optimizer& optimizer) {
  std::vector<FileTensor> tensors;
  for (const optim::NamedTensor& buffer : optimizer.state_tensors()) {
    for (const Parameter& parameter : parameters.parameters())
      tensors.push_back(
          {.name = buffer.name + "." + parameter.name(), .tensor = parameters.slice(buffer.tensor, parameter)});
  }
  return tensors;
}

}  // namespace accrue::train

#include "train/window_file.h"

#include <cstring>
#include <string>
#include <string_view>

#include "core/check.h"
#include "train/safetensors_header.h"

namespace accrue::train {
namespace {

constexpr std::string_view gradient_prefix = "gradient.";

std::string gradient_name(const Parameter& parameter) { return std::string(gradient_prefix) + parameter.name(); }

struct WindowSum {
  const char* name;
  SafetensorsDType dtype;
};
constexpr WindowSum loss_sum{.name = "loss_sum", .dtype = SafetensorsDType::f64},
    target_count{.name = "target_count", .dtype = SafetensorsDType::i64},
    found_inf{.name = "found_inf", .dtype = SafetensorsDType::i32};

template <class T>
void add_sum(SafetensorsWriter& writer, const WindowSum& sum, const T& value) {
  writer.add(sum.name, sum.dtype, {1}, std::as_bytes(std::span(&value, 1)));
}

void require_form(const SafetensorsEntry& entry, SafetensorsDType dtype, const Shape& shape, const std::string& file) {
  if (entry.dtype != dtype || entry.shape != shape)
    fail(ErrorKind::bad_data, "{}: tensor '{}' is {} {}, but {} {} is needed; is this a checkpoint of another model?",
         file, printable(entry.name), name_of(entry.dtype), entry.shape, name_of(dtype), shape);
}

template <class T>
T value_of(const SafetensorsEntry& entry) {
  T value;
  std::memcpy(&value, copy_of_bytes(entry).data(), sizeof value);
  return value;
}

}  // namespace

void add_window(SafetensorsWriter& writer, const ParameterStore& parameters, const kernels::StepState& step) {
  add_sum(writer, loss_sum, step.loss_sum);
  add_sum(writer, target_count, step.target_count);
  add_sum(writer, found_inf, step.found_inf);
  for (const Parameter& parameter : parameters.parameters())
    if (!parameter.fresh()) writer.add(gradient_name(parameter), parameter.grad());
}

WindowFile::WindowFile(const std::filesystem::path& path, const ParameterStore& parameters) : file_(path) {
  for (const WindowSum& sum : {loss_sum, target_count, found_inf})
    require_form(file_.get(sum.name), sum.dtype, {1}, path.string());
  std::size_t known = 3;
  for (const Parameter& parameter : parameters.parameters()) {
    const SafetensorsEntry* entry = file_.find(gradient_name(parameter));
    if (entry == nullptr) continue;
    require_form(*entry, to_safetensors_dtype(parameters.accumulate_dtype()), parameter.shape(), path.string());
    ++known;
  }
  if (known != file_.entries().size())
    fail(ErrorKind::bad_data, "{}: {} tensors are of no part of the model; is this a checkpoint of another one?",
         path.string(), file_.entries().size() - known);
  if (value_of<std::int64_t>(file_.get(target_count.name)) < 0)
    fail(ErrorKind::bad_data, "{}: target_count is negative; the file is damaged", path.string());
}

void WindowFile::load(kernels::StepState& step) const {
  step.loss_sum = value_of<double>(file_.get(loss_sum.name));
  step.target_count = value_of<std::int64_t>(file_.get(target_count.name));
  step.found_inf = value_of<std::int32_t>(file_.get(found_inf.name));
}

void WindowFile::load(const ParameterStore& parameters) const {
  for (const Parameter& parameter : parameters.parameters())
    if (const SafetensorsEntry* entry = file_.find(gradient_name(parameter)))
      parameter.restore_gradient(copy_of_bytes(*entry));
}

}  // namespace accrue::train

#include "train/gpt_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "train/safetensors.h"
#include "train/weights_file.h"
#include "train/weights_size.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view prefix = "transformer.";

bool has_prefix(const SafetensorsFile& file) { return file.find("transformer.wte.weight") != nullptr; }

Shape shape_of(const SafetensorsFile& file, const std::string& name, const fs::path& weights) {
  const SafetensorsEntry* entry = file.find((has_prefix(file) ? std::string(prefix) : std::string()) + name);
  if (entry == nullptr || entry->shape.rank() != 2)
    fail(ErrorKind::bad_data, "{}: no tensor '{}' with two axes; is this a GPT-2 with Hugging Face's names?",
         weights.string(), name);
  return entry->shape;
}

std::int64_t count_layers(const SafetensorsFile& file) {
  std::int64_t layers = 0;
  const std::string start = has_prefix(file) ? std::string(prefix) : std::string();
  while (file.find(fmt::format("{}h.{}.ln_1.weight", start, layers)) != nullptr) ++layers;
  return layers;
}

// Constant masks of old exports, and the head that GPT-2 ties to the embedding.
bool is_redundant(const std::string& name) {
  return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") || name == "lm_head.weight";
}

// A head of its own would be lost: this model has only the embedding to compute logits with.
void require_tied_head(const SafetensorsFile& file, const std::string& start, const fs::path& weights) {
  const SafetensorsEntry* head = file.find("lm_head.weight");
  const SafetensorsEntry* embedding = file.find(start + "wte.weight");
  if (head == nullptr || embedding == nullptr) return;
  const bool tied = head->shape == embedding->shape && to_floats(*head) == to_floats(*embedding);
  if (!tied)
    fail(ErrorKind::bad_data,
         "{}: lm_head.weight differs from {}wte.weight; untied heads are not supported, only GPT-2's, which shares the "
         "embedding's weights",
         weights.string(), start);
}

// Errors of the shapes are the file's, errors of the number of heads the user's.
void require_possible(const nn::GptConfig& config, const fs::path& weights) {
  nn::GptConfig shapes = config;
  shapes.heads = 1;
  try {
    shapes.validate();
  } catch (const Error& error) {
    fail(ErrorKind::bad_data, "{}: {}", weights.string(), error.what());
  }
  config.validate();
}

}  // namespace

nn::GptConfig gpt_config_of_weights(const fs::path& weights, int heads) {
  const SafetensorsFile file(weights);
  const Shape tokens = shape_of(file, "wte.weight", weights), positions = shape_of(file, "wpe.weight", weights);
  nn::GptConfig config{.vocabulary = tokens[0],
                       .context = positions[0],
                       .layers = count_layers(file),
                       .heads = heads,
                       .width = tokens[1]};
  if (config.layers == 0)
    fail(ErrorKind::bad_data, "{}: no block 'h.0'; is this a GPT-2 with Hugging Face's names?", weights.string());
  require_possible(config, weights);
  require_weights_for(parameter_count(config), weights.string(), file.entries(), weights.string());
  return config;
}

void load_gpt_weights(const fs::path& weights, const ParameterStore& parameters) {
  const SafetensorsFile file(weights);
  const std::string start = has_prefix(file) ? std::string(prefix) : std::string();
  require_tied_head(file, start, weights);
  std::vector<FileTensor> tensors = parameter_tensors(parameters);
  for (FileTensor& tensor : tensors) tensor.name = start + tensor.name;
  FittingTensors(weights, std::move(tensors), is_redundant).load();
  refresh_compute_copy(parameters);
}

}  // namespace accrue::train

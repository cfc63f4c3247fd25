#include "train/gpt_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "train/checkpoint.h"
#include "train/json_value.h"
#include "train/safetensors.h"
#include "train/weights_file.h"

namespace accrue::train {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view prefix = "transformer.";

template <class T>
T value_of(const nlohmann::json& json, const char* key, const fs::path& file) {
  if (const std::optional<T> value = json_value<T>(json, key)) return *value;
  fail(ErrorKind::bad_data, "{}: '{}' is missing or not such a number; is this the config.json of a GPT-2?",
       file.string(), key);
}

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

}  // namespace

nlohmann::json gpt_config_json(const nn::GptConfig& c) {
  return {{"model_type", "gpt2"},
          {"architectures", {"GPT2LMHeadModel"}},
          {"vocab_size", c.vocabulary},
          {"n_positions", c.context},
          {"n_ctx", c.context},
          {"n_embd", c.width},
          {"n_layer", c.layers},
          {"n_head", c.heads},
          {"activation_function", "gelu_new"},
          {"layer_norm_epsilon", 1e-5},
          {"resid_pdrop", c.dropout},
          {"embd_pdrop", c.dropout},
          {"attn_pdrop", c.dropout},
          {"tie_word_embeddings", true},
          // Bytes are the tokens: none of them is special.
          {"bos_token_id", nullptr},
          {"eos_token_id", nullptr}};
}

nn::GptConfig read_gpt_config(const fs::path& path) {
  const nlohmann::json json = read_json(path);
  nn::GptConfig config{.vocabulary = value_of<std::int64_t>(json, "vocab_size", path),
                       .context = value_of<std::int64_t>(json, "n_positions", path),
                       .layers = value_of<std::int64_t>(json, "n_layer", path),
                       .heads = value_of<int>(json, "n_head", path),
                       .width = value_of<std::int64_t>(json, "n_embd", path),
                       .dropout = value_of<float>(json, "resid_pdrop", path)};
  try {
    config.validate();
  } catch (const Error& error) {
    fail(ErrorKind::bad_data, "{}: {}", path.string(), error.what());
  }
  return config;
}

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
  config.validate();
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

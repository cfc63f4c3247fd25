#include "train/gpt_config.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "train/json_file.h"
#include "train/json_value.h"
#include "train/printable.h"
#include "train/safetensors.h"
#include "train/weights_size.h"

namespace accrue::train {
namespace {

template <class T>
T gpt_value(const nlohmann::json& json, const char* key, std::string_view name) {
  if (const std::optional<T> value = json_value<T>(json, key)) return *value;
  fail(ErrorKind::bad_data, "{}: '{}' is missing or not such a number; is this the config.json of a GPT-2?", name, key);
}

// What Hugging Face's GPT-2 can be set to and this model has no choice of. Where a file says otherwise, its weights are
// those of another model.
void require_this_model(const nlohmann::json& json, const nn::GptConfig& config, std::string_view name) {
  const auto require = [&](const char* key, const nlohmann::json& only) {
    const auto member = json.find(key);
    if (member == json.end() || *member == only) return;
    fail(ErrorKind::bad_data, "{}: '{}' is {}, but for this model it must be {}", name, key,
         member->is_structured() ? "a list or an object" : printable(member->dump(-1, ' ', true)), only.dump());
  };
  require("model_type", "gpt2");
  require("activation_function", "gelu_new");
  require("layer_norm_epsilon", 1e-5);
  require("tie_word_embeddings", true);
  require("scale_attn_weights", true);
  require("scale_attn_by_inverse_layer_idx", false);
  // Null stands for that, too.
  if (const auto inner = json.find("n_inner"); inner != json.end() && !inner->is_null())
    require("n_inner", 4 * config.width);
}

// The options of the command line in a message, by the names that the file has for them.
std::string with_keys(std::string message) {
  for (const auto& [option, key] : {std::pair("--vocabulary", "'vocab_size'"),
                                    {"--context", "'n_positions'"},
                                    {"--layers", "'n_layer'"},
                                    {"--heads", "'n_head'"},
                                    {"--width", "'n_embd'"},
                                    {"--dropout", "'resid_pdrop'"}})
    for (std::size_t at = message.find(option); at != message.npos; at = message.find(option))
      message.replace(at, std::string_view(option).size(), key);
  return message;
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

nn::GptConfig parse_gpt_config(const nlohmann::json& json, std::string_view name) {
  nn::GptConfig config{.vocabulary = gpt_value<std::int64_t>(json, "vocab_size", name),
                       .context = gpt_value<std::int64_t>(json, "n_positions", name),
                       .layers = gpt_value<std::int64_t>(json, "n_layer", name),
                       .heads = gpt_value<int>(json, "n_head", name),
                       .width = gpt_value<std::int64_t>(json, "n_embd", name),
                       .dropout = gpt_value<float>(json, "resid_pdrop", name)};
  try {
    config.validate();
  } catch (const Error& error) {
    fail(ErrorKind::bad_data, "{}: {}", name, with_keys(error.what()));
  }
  require_this_model(json, config, name);
  return config;
}

std::int64_t parameter_count(const nn::GptConfig& c) {
  // A block: two norms, c_attn [W, 3W], c_proj [W, W], c_fc [W, 4W], c_proj [4W, W], each with its bias. No product
  // overflows for what validate() accepts.
  const std::int64_t block = 12 * c.width * c.width + 13 * c.width;
  return (c.vocabulary + c.context) * c.width + c.layers * block + 2 * c.width;
}

nn::GptConfig gpt_config_of_checkpoint(const std::filesystem::path& checkpoint) {
  const std::filesystem::path file = checkpoint / "config.json", weights = checkpoint / "model.safetensors";
  const nn::GptConfig config = parse_gpt_config(read_json(file), file.string());
  require_weights_for(parameter_count(config), file.string(), SafetensorsFile(weights).entries(), weights.string());
  return config;
}

}  // namespace accrue::train

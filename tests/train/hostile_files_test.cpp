// Every parser against files that are wrong in one respect each.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "tests/train/files.h"
#include "tests/train/hostile_files.h"
#include "train/checkpoint_state.h"
#include "train/gpt_config.h"
#include "train/idx.h"
#include "train/json_file.h"
#include "train/loss_curve.h"
#include "train/mlp_config.h"
#include "train/run_settings.h"
#include "train/safetensors.h"
#include "train/token_data.h"
#include "train/weights_size.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::HasSubstr;

using Bytes = std::span<const std::uint8_t>;

// A weights file that holds this many f32 elements.
std::string weights_of(int elements) {
  return safetensors_file(
      fmt::format(R"({{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}})", elements, 4 * elements),
      std::string(static_cast<std::size_t>(4 * elements), '\0'));
}

void require_weights(std::int64_t parameters, const std::string& weights) {
  const Bytes bytes(reinterpret_cast<const std::uint8_t*>(weights.data()), weights.size());
  require_weights_for(parameters, "file", parse_safetensors(bytes, "weights").entries, "weights");
}

struct Format {
  std::string name;
  std::function<void(Bytes)> read;
  std::vector<HostileFile> files;
};

std::vector<Format> formats() {
  const auto gpt = [](Bytes bytes) {
    require_weights(parameter_count(parse_gpt_config(parse_json_object(bytes, "file"), "file")), weights_of(316));
  };
  const auto mlp = [](Bytes bytes) {
    require_weights(parameter_count(parse_mlp_config(parse_json_object(bytes, "file"), "file")), weights_of(55));
  };
  const auto text = [](Bytes bytes) {
    const TemporaryFolder folder;
    write_file(folder / "file", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const TokenFile file(folder / "file");
    file.require_vocabulary(128);
    TokenSamples(file.tokens(), 8, "file");
  };
  return {
      {"safetensors", [](Bytes bytes) { parse_safetensors(bytes, "file"); }, hostile_safetensors()},
      {"JSON", [](Bytes bytes) { parse_json_object(bytes, "file"); }, hostile_json()},
      {"IDX", [](Bytes bytes) { parse_idx(bytes, "file"); }, hostile_idx()},
      {"GPT config", gpt, hostile_gpt_configs()},
      {"MLP config", mlp, hostile_mlp_configs()},
      {"settings", [](Bytes bytes) { read_settings(parse_json_object(bytes, "file"), "file"); }, hostile_settings()},
      {"state", [](Bytes bytes) { state_from_json(parse_json_object(bytes, "file"), "file"); }, hostile_states()},
      {"text", text, hostile_texts()},
      {"metrics", [](Bytes bytes) { parse_loss_curve(bytes, "file"); }, hostile_metrics()},
  };
}

// In an exact copy on the heap: ASan sees a read past its end.
std::string refusal_of(const Format& format, const HostileFile& file) {
  const auto copy = std::make_unique<std::uint8_t[]>(file.bytes.size());
  std::copy(file.bytes.begin(), file.bytes.end(), copy.get());
  return error_of(file.kind, [&] { format.read({copy.get(), file.bytes.size()}); });
}

TEST(HostileFiles, EachIsRefusedWithAMessageOfItsOwnThatNamesFileAndDefect) {
  std::map<std::string, std::string> seen;  // message without the file's name -> which file got it
  for (const Format& format : formats()) {
    for (const HostileFile& file : format.files) {
      const std::string id = fmt::format("{}: {}", format.name, file.name);
      SCOPED_TRACE(id);
      const std::string message = refusal_of(format, file);
      EXPECT_THAT(message, HasSubstr(file.message));
      const std::size_t name = message.find("file:");
      ASSERT_NE(name, std::string::npos) << message;
      const auto [other, is_new] = seen.emplace(message.substr(name + 5), id);
      EXPECT_TRUE(is_new) << "the message of " << other->second << ": " << message;
      EXPECT_LT(message.size(), 400u);
      for (const char c : message)
        EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << "a control character in: " << message;
    }
  }
  EXPECT_EQ(seen.size(), 221u);  // as docs/hostile-input.md says
}

TEST(HostileFiles, WhatTheTablesSpoilIsAcceptedUnspoilt) {
  // Otherwise a refusal above might be for another reason than the one named.
  const std::vector<Format> all = formats();
  for (const SoundFile& file : sound_files()) {
    SCOPED_TRACE(file.format + ": " + file.bytes);
    const auto format = std::ranges::find(all, file.format, &Format::name);
    ASSERT_NE(format, all.end());
    format->read({reinterpret_cast<const std::uint8_t*>(file.bytes.data()), file.bytes.size()});
  }
  require_weights(parameter_count(nn::GptConfig{.vocabulary = 8, .context = 8, .layers = 1, .heads = 2, .width = 4}),
                  weights_of(316));
  require_weights(parameter_count(MlpConfig{.widths = {4, 3, 10}}), weights_of(55));
  EXPECT_THAT(error_of(ErrorKind::bad_data, [] { require_weights(56, weights_of(55)); }),
              HasSubstr("a model of 56 parameters, but weights holds 55"));
}

}  // namespace
}  // namespace accrue::train

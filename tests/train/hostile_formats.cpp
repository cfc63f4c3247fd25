#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "tests/train/hostile_files.h"

namespace accrue::testing {
namespace {

constexpr std::size_t mebibyte = 1 << 20;

// An object with one member changed: the text of `key`'s value is replaced.
std::string with(std::string object, const std::string& key, const std::string& value) {
  const std::size_t begin = object.find("\"" + key + "\":") + key.size() + 3;
  const std::size_t list = object[begin] == '[' ? object.find(']', begin) : begin;
  return object.replace(begin, object.find_first_of(",}", list) - begin, value);
}

// … or renamed, so that it is missing.
std::string without(std::string object, const std::string& key) {
  return object.replace(object.find("\"" + key + "\""), key.size() + 2, "\"other\"");
}

// The object with one member more.
std::string plus(const std::string& object, const std::string& member) {
  return object.substr(0, object.size() - 1) + "," + member + "}";
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

const std::string gpt_config =
    R"({"vocab_size":8,"n_positions":8,"n_embd":4,"n_layer":1,"n_head":2,"resid_pdrop":0.1})";
const std::string mlp_config =
    R"({"model_type":"accrue-mlp","widths":[4,3,10],"dropout":0,"pixel_mean":0,"pixel_deviation":1})";
const std::string settings =
    R"({"program":"gpt","data_bytes":4,"data_hash":"abc","seed":1,"global_batch":8,"data_order":"shuffled",)"
    R"("partial_window":"step","dataset_size":9,"steps":10,"rules":{}})";

const std::string state =
    settings.substr(0, settings.size() - 1) +
    R"(,"format_version":4,"optimizer":"adamw","micro":8,"window":4,"update":3,"skipped":1,"empty":0,"replayed":1,)"
    R"("loss_scaling":"dynamic","loss_scale":65536.0,"clean_windows":2,"floor_overflows":0,"trainer":{"replayed":[]}})";
const std::string report =
    R"({"outcome":"replayed","window":4,"update":3,"micro_batches":2,"samples":24,"targets":15,"loss":2.5,"grad_norm":1,)"
    R"("learning_rate":0.1,"loss_scale":2,"next_loss_scale":1,"seconds":1,"timed_samples":24,)"
    R"("overflow":{"parameter":"w"}})";

}  // namespace

std::string gzip(const std::string& content) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::vector<HostileFile> hostile_json() {
  const std::string deep = "{\"a\":" + std::string(32, '[') + std::string(32, ']') + "}";
  return {
      {"empty file", "", "is no JSON object: it starts with the end of the text"},
      {"array", "[]", "is no JSON object: it starts with '['"},
      {"string", "\"a\"", "it starts with '\"'"},
      {"null", "null", "it starts with 'n'"},
      {"number", "17", "it starts with '1'"},
      {"byte order mark", "\xef\xbb\xbf{}", "it starts with the byte 0xef"},
      {"UTF-16", std::string("{\0}\0", 4), "at byte 2: the byte 0x00 where a key in quotes is needed"},
      {"above 16 MiB", "{}" + std::string(16 * mebibyte, ' '), "has 16777218 bytes, above the limit of 16777216"},
      {"33 levels", deep, "at byte 37: objects and arrays nested deeper than 32"},
      {"a million levels", repeated("{\"a\":", 1'000'000), "at byte 161: objects and arrays nested deeper than 32"},
      {"second object", "{}{}", "at byte 3: '{' after the end of the object"},
      {"text behind a zero byte", std::string("{}\0{}", 5), "at byte 3: the byte 0x00 after the end of the object"},
      {"cut in an object", "{\"a\":1", "at byte 7: the end of the text where ',' or '}' is needed"},
      {"cut in an array", "{\"a\":[1", "at byte 8: the end of the text where ',' or ']' is needed"},
      {"cut before a value", "{\"a\":", "at byte 6: the end of the text where a value is needed"},
      {"cut in a key", "{\"a", "at byte 4: a string without its closing quote"},
      {"comma at the end of an object", "{\"a\":1,}", "at byte 8: '}' where a key in quotes is needed"},
      {"comma at the end of an array", "{\"a\":[1,]}", "at byte 9: ']' where a value is needed"},
      {"two values side by side", "{\"a\":[1 2]}", "at byte 9: '2' where ',' or ']' is needed"},
      {"bracket for a brace", "{\"a\":1]", "at byte 7: ']' where ',' or '}' is needed"},
      {"key without a colon", "{\"a\" 1}", "at byte 6: '1' where the ':' after a key is needed"},
      {"key without quotes", "{a:1}", "at byte 2: 'a' where a key in quotes is needed"},
      {"number as key", "{1:1}", "at byte 2: '1' where a key in quotes is needed"},
      {"key twice", R"({"a":1,"b":2,"a":3})", "near byte 16: the key 'a' appears twice in one object"},
      {"key twice, once escaped", R"({"a":{"b":1,"\u0062":2}})", "the key 'b' appears twice in one object"},
      {"infinity", "{\"a\":Infinity}", "at byte 6: 'I' where a value is needed"},
      {"NaN", "{\"a\":NaN}", "at byte 6: 'N' where a value is needed"},
      {"number beyond any double", "{\"a\":1e999}", "near byte 11: a number is too large for a double"},
      {"a thousand digits", "{\"a\":" + std::string(1000, '1') + "}", "a number of 1000 characters, more than 100"},
      {"leading zero", "{\"a\":01}", "at byte 7: '1' where ',' or '}' is needed"},
      {"plus sign", "{\"a\":+1}", "at byte 6: '+' where a value is needed"},
      {"minus sign alone", "{\"a\":-}", "at byte 7: '}' where a digit is needed in a number"},
      {"no digit behind the point", "{\"a\":1.}", "at byte 8: '}' where a digit is needed after a decimal point"},
      {"no digit in the exponent", "{\"a\":1e}", "at byte 8: '}' where a digit is needed in an exponent"},
      {"hexadecimal number", "{\"a\":0x1}", "at byte 7: 'x' where ',' or '}' is needed"},
      {"misspelt literal", "{\"a\":True}", "at byte 6: 'T' where a value is needed"},
      {"line end in a string", "{\"a\":\"\n\"}", "at byte 7: the control character 0x0a inside a string"},
      {"unknown escape", R"({"a":"\x41"})", "at byte 8: 'x' after a backslash"},
      {"three hexadecimal digits", R"({"a":"\u004"})", "at byte 12: '\"' where a hexadecimal digit is needed"},
      {"high surrogate alone", R"({"a":"\ud800"})", "at byte 13: an escaped surrogate without the one after it"},
      {"low surrogate alone", R"({"a":"\udc00"})", "at byte 7: an escaped surrogate without the one before it"},
      {"Latin-1", "{\"a\":\"\xe9\"}", "at byte 7: text that is not UTF-8 (the byte 0xe9)"},
      {"overlong UTF-8", "{\"a\":\"\xc0\x80\"}", "not UTF-8 (the byte 0xc0)"},
      {"overlong UTF-8 of three bytes", "{\"a\":\"\xe0\x80\x80\"}", "not UTF-8 (the byte 0xe0)"},
      {"surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "not UTF-8 (the byte 0xed)"},
      {"beyond Unicode", "{\"a\":\"\xf4\x90\x80\x80\"}", "not UTF-8 (the byte 0xf4)"},
      {"comment", "{\"a\":1/**/}", "at byte 7: '/' where ',' or '}' is needed"},
  };
}

std::vector<HostileFile> hostile_idx() {
  constexpr std::uint32_t huge = 0xffffffff;
  const std::string six = idx_header({2, 3}) + "abcdef", compressed = gzip(six);
  const auto changed = [&](std::size_t from_the_end) {
    std::string file = compressed;
    file[file.size() - from_the_end] ^= 1;
    return file;
  };
  std::string wrong_block = compressed;
  wrong_block[10] |= 6;  // block type 3 does not exist
  const std::string liar = gzip(idx_header({huge}) + "a");
  return {
      {"empty file", "", "starts with 4 bytes, but this one has 0"},
      {"zip archive", "PK\3\4....", "starts with the bytes 50 4b"},
      {"text, compressed", gzip("In the beginning"), "starts with the bytes 49 6e"},
      {"floats", idx_header({1}, 0x0d) + "abcd", "type code 0x0d (32-bit floats)"},
      {"signed bytes", idx_header({1}, 0x09) + "a", "type code 0x09 (signed bytes)"},
      {"unknown type", idx_header({1}, 0x77) + "a", "type code 0x77 (no type of the format)"},
      {"no axes", idx_header({}), "has 0 axes"},
      {"seven axes", idx_header({1, 1, 1, 1, 1, 1, 1}) + "a", "has 7 axes"},
      {"cut in the header", idx_header({1, 2, 3}).substr(0, 10), "extent of axis 1 of 3 is missing"},
      {"extent 0", idx_header({2, 0, 3}), "axis 1 has extent 0"},
      {"product beyond 64 bits", idx_header({huge, huge, huge}) + "a", "does not fit 64 bits"},
      {"petabytes", idx_header({huge, 0x7fffffff}) + "a", "holds at most 1"},
      {"more than deflate can hold", liar, fmt::format("holds at most {}", liar.size() * 1032 - 8)},
      {"data cut", six.substr(0, 14), "promises 6 bytes of data ([2, 3]), but a file of this size holds at most 2"},
      {"data cut, then compressed", gzip(six.substr(0, 14)), "promises 6 bytes of data ([2, 3]), but there are 2"},
      {"trailing byte", six + "g", "trailing bytes after the array"},
      {"two bytes behind the stream", compressed + "xy", "2 bytes follow the end of the compressed data"},
      {"second stream cut", compressed + compressed.substr(0, compressed.size() - 5),
       fmt::format("truncated (it ends after {} decompressed bytes)", 2 * six.size())},
      {"compressed data cut", compressed.substr(0, compressed.size() - 10), "the compressed data is truncated"},
      {"gzip magic alone", compressed.substr(0, 2), "truncated (it ends after 0 decompressed bytes)"},
      {"wrong checksum", changed(8), "damaged: incorrect data check"},
      {"wrong length", changed(4), "damaged: incorrect length check"},
      {"unknown block type", wrong_block, "damaged: invalid block type"},
  };
}

std::vector<SoundFile> sound_files() {
  return {{"GPT config", gpt_config},
          {"GPT config", plus(gpt_config, R"("model_type":"gpt2","n_inner":null,"attn_pdrop":0.5)")},
          {"MLP config", mlp_config},
          {"settings", settings},
          {"state", state},
          {"state", std::string(state).replace(state.find("[]}}"), 2, "[" + report + "]")},
          {"IDX", idx_header({2, 3}) + "abcdef"},
          {"JSON", R"({"a":[1,2.5,null]})"},
          {"safetensors", safetensors_file(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", "1234")},
          {"text", "123456789"},
          {"metrics", "{\"update\":1,\"loss\":1}\n"}};
}

std::vector<HostileFile> hostile_gpt_configs() {
  return {
      {"no vocabulary", without(gpt_config, "vocab_size"), "'vocab_size' is missing or not such a number"},
      {"width with a fraction", with(gpt_config, "n_embd", "4.5"), "'n_embd' is missing or not such a number"},
      {"layers in quotes", with(gpt_config, "n_layer", "\"1\""), "'n_layer' is missing or not such a number"},
      {"heads beyond an int", with(gpt_config, "n_head", "4294967298"), "'n_head' is missing or not such a number"},
      {"dropout beyond a float", with(gpt_config, "resid_pdrop", "1e39"),
       "'resid_pdrop' is missing or not such a number"},
      {"no positions", with(gpt_config, "n_positions", "0"), "'n_positions' must be in [1, 16777216], but is 0"},
      {"negative width", with(gpt_config, "n_embd", "-4"), "'n_embd' must be in [1, 1048576], but is -4"},
      {"largest vocabulary", with(gpt_config, "vocab_size", "9223372036854775807"), "but is 9223372036854775807"},
      {"a billion layers", with(gpt_config, "n_layer", "1000000000"), "'n_layer' must be in [1, 10000]"},
      {"heads that do not divide", with(gpt_config, "n_head", "3"), "'n_embd' 4 is not divisible by 'n_head' 3"},
      {"dropout 1", with(gpt_config, "resid_pdrop", "1"), "'resid_pdrop' must be in [0, 1), but is 1"},
      {"terabytes for a small file", with(with(gpt_config, "n_embd", "1048576"), "n_layer", "10000"),
       "describes a model of 131941531666874368 parameters, but"},
      {"another architecture", plus(gpt_config, R"("model_type":"bert")"), "'model_type' is \"bert\", but"},
      {"another activation", plus(gpt_config, R"("activation_function":"relu")"),
       "'activation_function' is \"relu\", but"},
      {"another epsilon", plus(gpt_config, R"("layer_norm_epsilon":10)"), "'layer_norm_epsilon' is 10, but"},
      {"a head of its own", plus(gpt_config, R"("tie_word_embeddings":false)"), "'tie_word_embeddings' is false, but"},
      {"another scale of the scores", plus(gpt_config, R"("scale_attn_weights":[1])"),
       "'scale_attn_weights' is a list or an object, but"},
      {"scores scaled by layer", plus(gpt_config, R"("scale_attn_by_inverse_layer_idx":true)"),
       "'scale_attn_by_inverse_layer_idx' is true, but"},
      {"a hidden layer of another width", plus(gpt_config, R"("n_inner":8)"), "'n_inner' is 8, but for this model it"},
      {"one layer more than the weights", with(gpt_config, "n_layer", "2"), "describes a model of 560 parameters, but"},
  };
}

std::vector<HostileFile> hostile_mlp_configs() {
  const auto widths = [](const std::string& value) { return with(mlp_config, "widths", value); };
  std::string many = "[1";
  for (int i = 0; i < 1000; ++i) many += ",1";
  return {
      {"a GPT's", with(mlp_config, "model_type", "\"gpt2\""), "not the configuration of an MLP"},
      {"widths as text", widths("\"4\""), "'widths' must be a list of 2 to 1000 layer widths"},
      {"fractional width", widths("[4,2.5,10]"), "whole numbers in [1, 1048576], but number 2 is none"},
      {"width 0", widths("[0,10]"), "but number 1 is none"},
      {"width of 64 bits", widths("[4,4,18446744073709551615]"), "but number 3 is none"},
      {"other classes", widths("[4,3,12]"), "the last of 'widths' must be the 10 classes, but is 12"},
      {"dropout 1", with(mlp_config, "dropout", "1.0"), "'dropout' must be in [0, 1), but is 1"},
      {"mean beyond a float", with(mlp_config, "pixel_mean", "1e300"),
       "'pixel_mean' is missing or no number that a float"},
      {"no deviation", with(mlp_config, "pixel_deviation", "0"), "'pixel_deviation' must be above 0, but is 0"},
      {"terabytes for a small file", widths("[1048576,1048576,10]"),
       "describes a model of 1099523162122 parameters, but"},
  };
}

std::vector<HostileFile> hostile_settings() {
  return {
      {"number as program", with(settings, "program", "1"), "'program' is missing or of the wrong type"},
      {"negative seed", with(settings, "seed", "-3"), "'seed' is missing or of the wrong type"},
      {"batch in floating point", with(settings, "global_batch", "8.0"), "'global_batch' is missing or of the wrong"},
      {"steps beyond 64 bits", with(settings, "steps", "99999999999999999999"),
       "'steps' is missing or of the wrong type"},
      {"hash that steers the terminal", with(settings, "data_hash", "\"\\u001b[2J\""),
       "'data_hash' is '\\x1b[2J', which is no hash"},
      {"no rules", without(settings, "rules"), "'rules' is missing or of the wrong type"},
  };
}

std::vector<HostileFile> hostile_states() {
  const auto changed = [](const std::string& key, const std::string& value) { return with(state, key, value); };
  const auto attempt = [&](const std::string& one) {
    std::string file = state;
    return file.replace(file.find("[]}}"), 2, "[" + one + "]");
  };
  const auto open_window = [](const std::string& value) {
    return state.substr(0, state.size() - 1) + ",\"open_window\":" + value + "}";
  };
  return {
      {"another format", changed("format_version", "5"), "format version 5, but this Accrue reads version 4"},
      {"format of 33 bits", changed("format_version", "4294967300"),
       "'format_version' is missing or of the wrong type"},
      {"windows that nobody ran", changed("window", "7"), "the counters contradict each other"},
      {"loss scale that is no power of two", changed("loss_scale", "3"), "loss_scale is 3, but must be a power of two"},
      {"loss scale beyond the bounds", changed("loss_scale", "1e38"),
       "loss_scale is 1e+38, but must be a power of two in"},
      {"loss scale beyond a float", changed("loss_scale", "1e300"), "'loss_scale' is missing or of the wrong type"},
      {"scaling that steers the terminal", changed("loss_scaling", "\"\\u001b[2J\""),
       "loss_scaling is '\\x1b[2J', but must"},
      {"no trainer", without(state, "trainer"), "'trainer' is missing or of the wrong type"},
      {"report that is no object", attempt("1"), "a window's report is no object"},
      {"unknown outcome", attempt(with(report, "outcome", "\"lost\"")), "'outcome' is none of a window's"},
      {"negative samples", attempt(with(report, "samples", "-24")),
       "'samples' is -24, but must be in [0, 9007199254740992]"},
      {"more targets than can be counted", attempt(with(report, "targets", "9223372036854775807")),
       "'targets' is 9223372036854775807, but"},
      {"micro-batches that overflow", changed("micro", "9223372036854775807"), "'micro' is 9223372036854775807, but"},
      {"replays that overflow", changed("replayed", "9007199254740993"), "'replayed' is 9007199254740993, but"},
      {"optimizer that steers the terminal", changed("optimizer", "\"\\u001b]0;owned\\u0007\""),
       "'optimizer' is '\\x1b]0;owned\\x07', which is no name"},
      {"loss in words", attempt(with(report, "loss", "\"low\"")), "'loss' is missing or of the wrong type"},
      {"replayed without an overflow", attempt(without(report, "overflow")), "report and its overflow contradict"},
      {"overflow of nothing", attempt(with(report, "overflow", "{")), "'parameter' is missing or of the wrong type"},
      {"parameter that steers the terminal", attempt(with(report, "overflow", "{\"parameter\":\"\\u001b[2J\"")),
       "'parameter' is '\\x1b[2J', which is no name"},
      {"parameter that steers by the second set", attempt(with(report, "overflow", "{\"parameter\":\"\\u009b2J\"")),
       "'parameter' is '\\xc2\\x9b2J', which is no name"},
      {"open window of a number", open_window("1"), "'open_window' is no object"},
      {"open window without samples", open_window("{\"micro_batches\":1}"),
       "'samples' is missing or of the wrong type"},
      {"open window of an unknown dtype",
       open_window(R"({"micro_batches":1,"samples":1,"normalisation":"targets","accumulate_dtype":"f64"})"),
       "'open_window' has an impossible value"},
  };
}

std::vector<HostileFile> hostile_texts() {  // for a context of 8 and a vocabulary of 128
  return {
      {"empty text", "", "is empty"},
      {"one byte", "1", "has 1 byte, but a sample of the context 8 needs 9"},
      {"a byte too short", "12345678", "has 8 bytes, but a sample of the context 8 needs 9"},
      {"a byte beyond the vocabulary", "123456789\xe4", "byte 228 (0xe4) at offset 9"},
  };
}

std::vector<HostileFile> hostile_metrics() {
  const std::string line = "{\"update\":1,\"loss\":1}\n";
  return {
      {"text", "a text\n", "1: is no JSON object"},
      {"empty line", line + "\n" + line, "2: an empty line"},
      {"line of a mebibyte", line + "{\"a\":\"" + std::string(mebibyte, 'x') + "\"}\n",
       "2: 1048584 bytes, above the limit of 1048576 for a line"},
      {"torn last line", line + line + "{\"update\":3,\"lo", "3: is not valid JSON at byte 16"},
      {"no update", line + "{\"loss\":1}\n", "2: 'update' is missing or no number"},
      {"no loss", line + "{\"update\":1}\n", "2: 'loss' is missing or no number"},
      {"word as loss", "{\"update\":1,\"loss\":\"low\"}\n", "1: 'loss' is missing or no number"},
      {"list as validation loss", "{\"update\":1,\"loss\":1,\"validation_loss\":[]}\n",
       "1: 'validation_loss' is no number"},
  };
}

}  // namespace accrue::testing

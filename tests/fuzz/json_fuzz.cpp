// A JSON object: what is accepted is what nlohmann's parser reads, and what is refused it refuses too, but for the
// cases in which Accrue is stricter. Then the object is taken for the state of a run.
#include <nlohmann/json.hpp>

#include "tests/fuzz/fuzz.h"
#include "train/json_file.h"
#include "train/run_settings.h"

namespace accrue::fuzz {
namespace {

using nlohmann::json;
using namespace accrue::train;

int depth_of(const json& value) {
  int deepest = 0;
  if (value.is_structured())
    for (const json& member : value) deepest = std::max(deepest, depth_of(member));
  return deepest + (value.is_structured() ? 1 : 0);
}

void require_same_as_nlohmann(const json& tree, Bytes text) {
  require(tree.is_object(), "something else than an object");
  require(depth_of(tree) <= deepest_json, "nested too deep");
  require(json::parse(text.begin(), text.end()) == tree, "another tree than nlohmann's");
  const std::string dump = tree.dump();
  const Bytes again(reinterpret_cast<const std::uint8_t*>(dump.data()), dump.size());
  require(parse_json_object(again, "dump") == tree, "a tree that changes when written");
}

// Whether Accrue, on purpose, refuses more than nlohmann.
bool stricter(const Error& error, Bytes text) {
  const std::string_view message = error.what();
  for (const char* const reason : {"is no JSON object", "nested deeper than", "appears twice", "characters, more than"})
    if (message.find(reason) != std::string_view::npos) return true;
  return std::find(text.begin(), text.end(), 0) != text.end();  // where nlohmann stops
}

void require_refused_by_nlohmann(const Error& error, Bytes text) {
  require_refusal(error, {ErrorKind::bad_data});
  if (!stricter(error, text) && json::accept(text.begin(), text.end()))
    finding(std::string("nlohmann accepts what was refused: ") + error.what());
}

void take_for_settings(const json& tree, std::size_t size) {
  const auto settings =
      parsed(json_allocation_per_byte * size + json_allocation_constant, [&] { return read_settings(tree, "input"); });
  if (!settings) return;
  json again = json::object();
  write_settings(again, *settings);
  require(read_settings(again, "again") == *settings, "settings that change when written");
}

}  // namespace
}  // namespace accrue::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  const Bytes text(data, size);
  json tree;
  try {
    const AllocationLimit limit(json_allocation_per_byte * size + json_allocation_constant);
    tree = parse_json_object(text, "input");
  } catch (const accrue::Error& error) {
    require_refused_by_nlohmann(error, text);
    return 0;
  }
  require_same_as_nlohmann(tree, text);
  take_for_settings(tree, size);
  return 0;
}

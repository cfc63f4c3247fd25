// What the parsers allocate for a byte of the dearest files, against the bounds that their headers state. The fuzz
// targets hold every input of theirs to the same bounds; here the files are as large as it takes for the factor alone
// to count.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/fuzz/allocations.h"
#include "tests/train/hostile_files.h"
#include "train/gzip.h"
#include "train/idx.h"
#include "train/json_file.h"
#include "train/loss_curve.h"
#include "train/safetensors.h"
#include "train/token_data.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using Bytes = std::span<const std::uint8_t>;

constexpr std::size_t size = (1 << 18) + 100;  // arrays that grow by doubling have just done so, at the dearest

struct Costly {
  std::string name, file;
  bool accepted = true;
};

// The text between the ends, as often as it fits into the size.
std::string filled(const std::string& begin, const std::string& element, const std::string& end) {
  std::string file = begin + element;
  while (file.size() < size) file += "," + element;
  return file + end;
}

// Elements that differ by a number, as short as they can be.
std::string numbered(const std::string& begin, const std::function<std::string(int)>& element, const std::string& end) {
  std::string file = begin + element(0);
  for (int i = 1; file.size() < size; ++i) file += "," + element(i);
  return file + end;
}

// Bytes allocated for a byte of `counted`, from reading the file to the result's end.
double cost(const std::string& file, std::size_t counted, bool accepted, const std::function<void(Bytes)>& read) {
  const std::uint64_t before = fuzz::allocated_bytes();
  bool passed = true;
  try {
    read({reinterpret_cast<const std::uint8_t*>(file.data()), file.size()});
  } catch (const Error& error) {
    passed = false;
    EXPECT_EQ(error.kind(), ErrorKind::bad_data) << error.what();
  }
  EXPECT_EQ(passed, accepted);
  return static_cast<double>(fuzz::allocated_bytes() - before) / static_cast<double>(counted);
}

void expect_bound(const std::vector<Costly>& files, std::size_t bound, const std::function<void(Bytes)>& read) {
  double dearest = 0;
  for (const Costly& each : files) {
    SCOPED_TRACE(each.name);
    const double bytes = cost(each.file, each.file.size(), each.accepted, read);
    EXPECT_LE(bytes, static_cast<double>(bound));
    dearest = std::max(dearest, bytes);
    fmt::print("{}: {:.1f} bytes allocated for each byte\n", each.name, bytes);
  }
  // A bound three times as high as need be would hide a parser that has become dearer.
  EXPECT_GE(3 * dearest, static_cast<double>(bound));
}

TEST(AllocationBound, OfJson) {
  const std::string long_text(size, 'x'), blanks(size, '\n');
  const auto key = [](int i) { return fmt::format("\"{:x}\":", i); };
  expect_bound({{"array of objects", filled("{\"a\":[", "{}", "]}")},
                {"array of arrays", filled("{\"a\":[", "[]", "]}")},
                {"array of digits", filled("{\"a\":[", "0", "]}")},
                {"array of empty strings", filled("{\"a\":[", "\"\"", "]}")},
                {"array of objects of one", filled("{\"a\":[", "{\"\":0}", "]}")},
                {"array of deep objects", filled("{\"a\":[", R"({"":{"":{"":{"":{}}}}})", "]}")},
                {"strings too long for their object", filled("{\"a\":[", "\"0123456789abcdef\"", "]}")},
                {"keys", numbered(
                             "{", [&](int i) { return key(i) + "0"; }, "}")},
                {"keys of objects", numbered(
                                        "{", [&](int i) { return key(i) + "{}"; }, "}")},
                {"one string", "{\"a\":\"" + long_text + "\"}"},
                {"one key", "{\"" + long_text + "\":0}"},
                {"blanks", "{" + blanks + "}"},
                {"objects, then an error", filled("{\"a\":[", "{}", "]"), false},
                {"objects, then a key twice", filled("{\"a\":[", "{}", "],\"a\":0}"), false},
                {"objects, then a number too large", filled("{\"a\":[", "{}", ",1e999]}"), false},
                {"blanks, then an error", "{" + blanks + "x", false},
                {"a long key twice", "{\"" + long_text + "\":0,\"" + long_text + "\":0}", false}},
               json_allocation_per_byte, [](Bytes bytes) { parse_json_object(bytes, "file"); });
}

TEST(AllocationBound, OfSafetensors) {
  const auto entry = [](const std::string& shape) {
    return [shape](int i) {
      return fmt::format(R"("{:x}":{{"dtype":"U8","shape":[{}],"data_offsets":[0,0]}})", i, shape);
    };
  };
  const std::string long_name(size, 'x');
  expect_bound(
      {{"empty tensors", safetensors_file(numbered("{", entry("0"), "}"))},
       {"empty tensors of six axes", safetensors_file(numbered("{", entry("0,0,0,0,0,0"), "}"))},
       {"metadata", safetensors_file(numbered(
                        "{\"__metadata__\":{", [](int i) { return fmt::format("\"{:x}\":\"\"", i); }, "}}"))},
       {"blanks", safetensors_file("{" + std::string(size, '\t') + "}")},
       {"one long name", safetensors_file("{\"" + long_name + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})")},
       {"tensors, then a name twice", safetensors_file(numbered("{", entry("0"), "," + entry("0")(1) + "}")), false},
       {"tensors, then an error", safetensors_file(numbered("{", entry("0"), ",}")), false},
       {"an unknown dtype of a quarter of a megabyte",
        safetensors_file(R"({"t":{"dtype":")" + long_name + R"(","shape":[0],"data_offsets":[0,0]}})"), false}},
      safetensors_allocation_per_byte, [](Bytes bytes) { parse_safetensors(bytes, "file"); });
}

TEST(AllocationBound, OfMetrics) {
  const auto lines = [](const std::string& line) {
    std::string file;
    while (file.size() < size) file += line + "\n";
    return file;
  };
  const std::string shortest = R"({"update":1,"loss":1)";
  std::string objects = shortest + ",\"a\":[{}";
  while (objects.size() < (1 << 17)) objects += ",{}";
  expect_bound({{"points", lines(shortest + "}")},
                {"points with validation", lines(shortest + R"(,"validation_loss":1})")},
                {"few long lines", lines(objects + "]}")},
                {"points, then an error", lines(shortest + "}") + "x", false}},
               metrics_allocation_per_byte, [](Bytes bytes) { parse_loss_curve(bytes, "file"); });
}

TEST(AllocationBound, OfIdxIsTheArray) {
  const auto read = [](Bytes bytes) { parse_idx(bytes, "file"); };
  const std::string plain = idx_header({size}) + std::string(size, '\0');
  EXPECT_LE(cost(plain, plain.size() + idx_allocation_constant, true, read), 1.0);
  const std::string zeros = idx_header({1 << 24}) + std::string(1 << 24, '\0'), compressed = gzip(zeros);
  EXPECT_LE(cost(compressed, compressed.size(), true, read), 1.01 * deflate_maximal_ratio);
  // Promises alone cost nothing.
  constexpr std::uint32_t huge = 0xffffffff;
  const std::string noise = numbered(
      "", [](int i) { return std::to_string(i * i); }, "");
  const auto promised = static_cast<std::uint32_t>(1000 * gzip(noise).size());  // what so large a file could hold
  for (const std::string& file :
       {idx_header({huge}) + "a", gzip(idx_header({huge}) + "a"), gzip(idx_header({promised}) + noise)})
    EXPECT_LE(cost(file, idx_allocation_constant, false, read), 1.0);
}

TEST(AllocationBound, OfTextsIsNothing) {
  const std::string text(size, 'x');
  const auto read = [](Bytes bytes) { TokenSamples(bytes, 64, "file"); };
  EXPECT_LE(cost(text, 1024, true, read), 1.0);
}

}  // namespace
}  // namespace accrue::train

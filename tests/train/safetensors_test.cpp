#include "train/safetensors.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "tests/train/files.h"
#include "tests/train/hostile_files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using accrue::testing::fixture;
using accrue::testing::read_file;
using accrue::testing::safetensors_file;
using accrue::testing::TemporaryFolder;
using accrue::testing::write_file;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

std::string file_of(const std::string& header, const std::string& data = "") { return safetensors_file(header, data); }

// Owns an exact heap copy of the file, so that ASan sees a read past its end, and its index.
struct Parsed {
  explicit Parsed(const std::string& file)
      : size(file.size()), bytes(std::make_unique<std::uint8_t[]>(file.size())), index(parse(file)) {}
  SafetensorsIndex parse(const std::string& file) {
    std::copy(file.begin(), file.end(), bytes.get());
    return parse_safetensors({bytes.get(), size}, "file");
  }
  std::size_t size;
  std::unique_ptr<std::uint8_t[]> bytes;
  SafetensorsIndex index;
};

std::string refusal(const std::string& file) {
  return error_of(ErrorKind::bad_data, [&] { Parsed parsed(file); });
}

// A whole header with one tensor, for the cases that spoil a part of it.
std::string tensor(const std::string& fields) { return "{\"t\":{" + fields + "}}"; }

const std::string known_file =
    file_of(R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
            R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})"
            "  ",
            std::string("\0\0\x80\x3f\0\0\0\xc0\1\2\3", 11));

TEST(SafetensorsReader, ReadsAKnownFile) {
  const Parsed file(known_file);
  ASSERT_EQ(file.index.entries.size(), 2u);
  EXPECT_EQ(file.index.entries[0].name, "b");
  EXPECT_EQ(file.index.entries[0].shape, Shape({2}));
  EXPECT_THAT(to_floats(file.index.entries[0]), ElementsAre(1.0f, -2.0f));
  EXPECT_EQ(file.index.entries[1].dtype, SafetensorsDType::u8);
  EXPECT_THAT(file.index.entries[1].bytes(), ElementsAre(std::byte{1}, std::byte{2}, std::byte{3}));
  EXPECT_EQ(file.index.metadata.at("format"), "pt");
}

TEST(SafetensorsReader, AcceptsTheFormatsCorners) {
  EXPECT_TRUE(Parsed(file_of("{}")).index.entries.empty());
  EXPECT_TRUE(Parsed(file_of("{}      ")).index.entries.empty());
  EXPECT_TRUE(Parsed(file_of(R"({"__metadata__":{}})")).index.metadata.empty());
  // A scalar; blanks inside the JSON; any order of the fields.
  EXPECT_EQ(Parsed(file_of(tensor(R"( "data_offsets" : [0, 4], "shape": [],
                                      "dtype":"I32" )"),
                           "1234"))
                .index.entries[0]
                .shape,
            Shape());
  // Empty tensors lie between others, even where two of them share a byte offset with a full one that is listed first.
  const Parsed empty(file_of(R"({"full":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                             R"("e1":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
                             R"("e2":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})",
                             "xy"));
  EXPECT_EQ(empty.index.entries.size(), 3u);
  // Entries come in the order of their bytes whatever the header's order.
  const Parsed swapped(file_of(R"({"second":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},)"
                               R"("first":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                               "xy"));
  EXPECT_EQ(swapped.index.entries[0].name, "first");
  EXPECT_EQ(Parsed(file_of(R"({"é\n":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})")).index.entries[0].name, "é\n");
}

TEST(SafetensorsReader, NamesFromTheFileCannotSteerTheTerminal) {
  const std::string message = refusal(file_of("{\"\\u001b[2J" + std::string(500, 'x') + "\":1}"));
  EXPECT_THAT(message, AllOf(HasSubstr("\\x1b[2J"), Not(HasSubstr("\x1b"))));
  EXPECT_LT(message.size(), 200u);
}

TEST(SafetensorsReader, EveryTruncationIsAnError) {
  for (std::size_t size = 0; size < known_file.size(); ++size)
    EXPECT_THAT(refusal(known_file.substr(0, size)), HasSubstr("truncated")) << size;
}

TEST(SafetensorsReader, EveryFlippedHeaderBitIsAnErrorOrAnotherValidFile) {
  const std::size_t header_end = known_file.size() - 11;
  int refused = 0;
  for (std::size_t bit = 0; bit < 8 * header_end; ++bit) {
    std::string damaged = known_file;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    try {
      const Parsed file(damaged);
      std::size_t covered = 0;
      for (const SafetensorsEntry& entry : file.index.entries) {
        EXPECT_EQ(entry.data.size(), static_cast<std::size_t>(entry.shape.numel()) * size_of(entry.dtype));
        covered += entry.data.size();
        for (const std::byte byte : entry.data) EXPECT_LE(std::to_integer<int>(byte), 255);  // touch every byte
      }
      EXPECT_EQ(covered, 11u);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_data) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(4 * header_end));
}

TEST(SafetensorsReader, ReadsTheFixtures) {
  const SafetensorsFile parity(fixture("gpt_parity.safetensors"));
  EXPECT_EQ(parity.metadata().at("vocab"), "37");
  const SafetensorsEntry& tokens = parity.get("tokens");
  EXPECT_EQ(tokens.dtype, SafetensorsDType::i32);
  EXPECT_EQ(tokens.shape, Shape({3, 12, 8}));
  for (const char* name : {"gpt_parity.safetensors", "optimizers.safetensors"}) {
    const SafetensorsFile file(fixture(name));
    EXPECT_GT(file.entries().size(), 5u);
    for (const SafetensorsEntry& entry : file.entries()) {
      EXPECT_EQ(file.find(entry.name), &entry);
      if (entry.dtype != SafetensorsDType::f32) continue;
      for (const float value : to_floats(entry)) ASSERT_TRUE(std::isfinite(value)) << entry.name;
    }
  }
}

TEST(SafetensorsFile, FindsByNameAlsoAfterAMove) {
  const TemporaryFolder folder;
  write_file(folder / "known", known_file);
  SafetensorsFile first(folder / "known");
  const SafetensorsFile file = std::move(first);
  EXPECT_EQ(file.get("a").shape, Shape({3}));
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { file.get("c"); }),
              AllOf(HasSubstr("known"), HasSubstr("no tensor 'c'")));
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { SafetensorsFile(folder / "absent"); }), HasSubstr("absent"));
}

TEST(ToFloats, ConvertsEveryFloatingPointTypeFromUnalignedBytes) {
  const std::vector<float> expected = {1.5f, -0.0f, 65504.0f, std::numeric_limits<float>::infinity()};
  const auto check_type = [&]<class T>(T, SafetensorsDType dtype) {
    std::vector<std::byte> bytes(1 + expected.size() * sizeof(T));  // one byte off
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const T value(expected[i]);
      std::memcpy(bytes.data() + 1 + i * sizeof(T), &value, sizeof(T));
    }
    const SafetensorsEntry entry{.name = "t", .dtype = dtype, .shape = {4}, .data = std::span(bytes).subspan(1)};
    const std::vector<float> values = to_floats(entry);
    ASSERT_EQ(values.size(), 4u);
    for (const std::size_t i : {0u, 1u, 3u})
      EXPECT_EQ(std::bit_cast<std::uint32_t>(values[i]), std::bit_cast<std::uint32_t>(expected[i])) << name_of(dtype);
    EXPECT_EQ(values[2], static_cast<float>(T(65504.0f))) << name_of(dtype);
  };
  check_type(double{}, SafetensorsDType::f64);
  check_type(float{}, SafetensorsDType::f32);
  check_type(f16{}, SafetensorsDType::f16);
  check_type(bf16{}, SafetensorsDType::bf16);
}

TEST(ToFloats, RefusesOtherTypes) {
  const Parsed file(known_file);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { to_floats(file.index.entries[1]); }),
              AllOf(HasSubstr("tensor 'a' has dtype U8"), HasSubstr("floating-point")));
}

TEST(SafetensorsDType, NamesAndSizesAgreeBothWays) {
  for (int i = 0; i <= static_cast<int>(SafetensorsDType::boolean); ++i) {
    const auto dtype = static_cast<SafetensorsDType>(i);
    EXPECT_EQ(parse_safetensors_dtype(name_of(dtype)), dtype);
  }
  EXPECT_EQ(parse_safetensors_dtype("F8"), std::nullopt);
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::i32, DType::u8})
    EXPECT_EQ(size_of(to_safetensors_dtype(dtype)), accrue::size_of(dtype));
}

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  const std::filesystem::path path_ = folder_ / "out.safetensors";
};

TEST_F(SafetensorsWriterTest, WritesTheKnownFileByteForByte) {
  const std::vector<std::uint8_t> a = {1, 2, 3};
  const std::vector<float> b = {1.0f, -2.0f};
  SafetensorsWriter writer;
  writer.metadata("format", "pt");
  writer.add("a", DType::u8, {3}, bytes_of(a));  // first, but its elements are smaller: b goes before it, aligned
  writer.add("b", DType::f32, {2}, bytes_of(b));
  writer.write(path_);
  std::string expected = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                         R"("a":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
  while (expected.size() % 8 != 0) expected += ' ';
  EXPECT_EQ(read_file(path_), file_of(expected, std::string("\0\0\x80\x3f\0\0\0\xc0\1\2\3", 11)));
  EXPECT_FALSE(std::filesystem::exists(path_.string() + ".tmp"));
}

TEST_F(SafetensorsWriterTest, WhatIsWrittenReadsBackEqualAndAligned) {
  SafetensorsWriter writer;
  std::vector<std::vector<std::uint8_t>> contents;
  contents.reserve(100);
  for (int i = 0; i <= static_cast<int>(SafetensorsDType::boolean); ++i)
    for (const Shape& shape : {Shape(), Shape({3}), Shape({0}), Shape({5, 0, 2}), Shape({1, 2, 3, 1, 2, 1})}) {
      const auto dtype = static_cast<SafetensorsDType>(i);
      auto& content = contents.emplace_back(static_cast<std::size_t>(shape.numel()) * size_of(dtype));
      for (std::size_t k = 0; k < content.size(); ++k) content[k] = static_cast<std::uint8_t>(37 * k + contents.size());
      writer.add(fmt::format("layer.{}\"\\é\n/{}", name_of(dtype), shape), dtype, shape, bytes_of(content));
    }
  writer.metadata("quote\"", "back\\slash, newline\n, ü");
  writer.metadata("", "");
  writer.write(path_);
  const SafetensorsFile file(path_);
  EXPECT_EQ(file.metadata().at("quote\""), "back\\slash, newline\n, ü");
  EXPECT_EQ(file.metadata().size(), 2u);
  ASSERT_EQ(file.entries().size(), contents.size());
  std::size_t index = 0;
  for (int i = 0; i <= static_cast<int>(SafetensorsDType::boolean); ++i)
    for (const Shape& shape : {Shape(), Shape({3}), Shape({0}), Shape({5, 0, 2}), Shape({1, 2, 3, 1, 2, 1})}) {
      const auto dtype = static_cast<SafetensorsDType>(i);
      const SafetensorsEntry& entry = file.get(fmt::format("layer.{}\"\\é\n/{}", name_of(dtype), shape));
      EXPECT_EQ(entry.dtype, dtype);
      EXPECT_EQ(entry.shape, shape);
      EXPECT_TRUE(std::ranges::equal(entry.bytes(), bytes_of(contents[index++])));
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(entry.data.data()) % size_of(dtype), 0u);
    }
}

TEST_F(SafetensorsWriterTest, AnEmptyFileIsValid) {
  SafetensorsWriter().write(path_);
  EXPECT_EQ(read_file(path_), file_of("{}      "));
  EXPECT_TRUE(SafetensorsFile(path_).entries().empty());
}

TEST_F(SafetensorsWriterTest, RefusesWhatAReaderWouldRefuse) {
  const std::vector<float> two = {1, 2};
  SafetensorsWriter writer;
  writer.add("t", DType::f32, {2}, bytes_of(two));
  writer.metadata("k", "v");
  const auto refused = [&](auto&& call) { return error_of(ErrorKind::internal, call); };
  EXPECT_THAT(refused([&] { writer.add("t", DType::f32, {2}, bytes_of(two)); }), HasSubstr("'t' is added twice"));
  EXPECT_THAT(refused([&] { writer.add("u", DType::f32, {3}, bytes_of(two)); }),
              HasSubstr("shape [3] does not have 8 bytes"));
  EXPECT_THAT(refused([&] { writer.add("__metadata__", DType::f32, {2}, bytes_of(two)); }), HasSubstr("reserved"));
  EXPECT_THAT(refused([&] { writer.add("\xff", DType::f32, {2}, bytes_of(two)); }), HasSubstr("UTF-8"));
  EXPECT_THAT(refused([&] { writer.metadata("k", "w"); }), HasSubstr("set twice"));
  EXPECT_THAT(refused([&] { writer.metadata("l", "\xff"); }), HasSubstr("UTF-8"));
  writer.write(path_);  // the refused calls left nothing behind
  EXPECT_EQ(SafetensorsFile(path_).entries().size(), 1u);
}

TEST_F(SafetensorsWriterTest, AFailureLeavesTheOldFileAndNoTemporary) {
  const std::vector<float> two = {1, 2};
  SafetensorsWriter writer;
  writer.add("t", DType::f32, {2}, bytes_of(two));
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { writer.write(folder_ / "absent/out"); }),
              HasSubstr("No such file"));
  write_file(path_, "old");
  std::filesystem::create_symlink("/dev/full", path_.string() + ".tmp");
  EXPECT_THAT(error_of(ErrorKind::io, [&] { writer.write(path_); }), HasSubstr("No space left on device"));
  EXPECT_EQ(read_file(path_), "old");
  EXPECT_FALSE(std::filesystem::is_symlink(path_.string() + ".tmp"));
}

}  // namespace
}  // namespace accrue::train

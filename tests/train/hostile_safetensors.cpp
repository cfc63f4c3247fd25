#include "tests/train/hostile_files.h"

#include <fmt/format.h>

namespace accrue::testing {
namespace {

std::string one_tensor(const std::string& fields) { return "{\"t\":{" + fields + "}}"; }

const std::string u8 = R"("dtype":"U8",)", one = R"("shape":[1],)", at = R"("data_offsets":[0,1])";
const std::string entry = "{" + u8 + one + at + "}";

// A file of one tensor of these fields and the byte that they speak of.
std::string with_tensor(const std::string& fields) { return safetensors_file(one_tensor(fields), "x"); }

std::vector<HostileFile> wrong_headers() {
  const auto file_of = [](const std::string& header) { return safetensors_file(header); };
  return {
      {"empty file", "", "starts with 8 bytes of header length, but this one has 0"},
      {"seven bytes", "1234567", "but this one has 7"},
      {"header of length 0", length_prefix(0), "the header is empty"},
      {"header above the limit", length_prefix(100'000'001) + "{}",
       "header length 100000001 is above the limit of 100000000"},
      {"largest header length", length_prefix(~0ull) + "{}", "header length 18446744073709551615 is above"},
      {"header cut by a byte", length_prefix(3) + "{}", "the header has 3 bytes, but only 2 follow"},
      {"header cut by 100 MB", length_prefix(100'000'000) + "{}", "the header has 100000000 bytes, but only 2 follow"},
      {"array as header", file_of("[]"), "must start with '{', but starts with byte 0x5b"},
      {"blank before the header", file_of(" {}"), "but starts with byte 0x20"},
      {"byte order mark", file_of("\xef\xbb\xbf{}"), "but starts with byte 0xef"},
      {"line end behind the header", file_of("{}\n"), "must end with '}' and spaces, but ends with byte 0x0a"},
      {"zero byte behind the header", file_of(std::string("{}\0", 3)), "but ends with byte 0x00"},
      {"header without an end", file_of("{"), "must end with '}' and spaces, but ends with byte 0x7b"},
      {"second closing brace", file_of("{}}"), "not valid JSON at byte 3: '}' after the end of the object"},
      {"second object", file_of("{}{}"), "not valid JSON at byte 3: '{' after the end of the object"},
      {"text hidden behind a zero byte", file_of(std::string("{}\0 hidden}", 11)),
       "not valid JSON at byte 3: the byte 0x00 after the end"},
      {"comma without a key", file_of("{,}"), "not valid JSON at byte 2: ',' where a key in quotes is needed"},
      {"comment", file_of("{/**/}"), "not valid JSON at byte 2: '/' where a key"},
      {"single quotes", file_of("{'t':1}"), "not valid JSON at byte 2: ''' where a key"},
      {"name that is not UTF-8", file_of("{\"t\xff\":1}"), "text that is not UTF-8 (the byte 0xff)"},
      {"NaN", file_of("{\"t\":NaN}"), "not valid JSON at byte 6: 'N' where a value is needed"},
      {"number beyond any double", file_of("{\"t\":1e999}"), "a number beyond any double"},
      {"half of a surrogate pair", file_of("{\"\\ud800\":1}"), "an escaped surrogate without the one after it"},
      {"a million brackets", file_of("{\"t\":" + std::string(1'000'000, '[') + "}"), "nested deeper than 4"},
  };
}

std::vector<HostileFile> wrong_types() {
  const auto file_of = [](const std::string& header) { return safetensors_file(header); };
  return {
      {"null as tensor", file_of(R"({"t":null})"), "tensor 't' must be an object, but is null"},
      {"boolean as tensor", file_of(R"({"t":true})"), "tensor 't' must be an object, but is a boolean"},
      {"string as tensor", file_of(R"({"t":"x"})"), "tensor 't' must be an object, but is a string"},
      {"number as tensor", file_of(R"({"t":1})"), "tensor 't' must be an object, but is a number"},
      {"array as tensor", file_of(R"({"t":[]})"), "tensor 't' must be an object, but is an array"},
      {"number as dtype", with_tensor(R"("dtype":8,)" + one + at),
       "dtype of tensor 't' must be a string, but is a numb"},
      {"object as dtype", with_tensor(R"("dtype":{},)" + one + at),
       "dtype of tensor 't' must be a string, but is an object"},
      {"number as shape", with_tensor(u8 + R"("shape":1,)" + at),
       "shape of tensor 't' must be an array, but is a numbe"},
      {"object as shape", with_tensor(u8 + R"("shape":{},)" + at),
       "shape of tensor 't' must be an array, but is an object"},
      {"negative extent", with_tensor(u8 + R"("shape":[-1],)" + at), "integers, but holds a negative number"},
      {"extent 1.0", with_tensor(u8 + R"("shape":[1.0],)" + at),
       "integers, but holds a number that is no 64-bit integer"},
      {"string as extent", with_tensor(u8 + R"("shape":["1"],)" + at),
       "shape of tensor 't' must hold non-negative integers, but holds a string"},
      {"null as extent", with_tensor(u8 + R"("shape":[null],)" + at), "but holds null"},
      {"array as extent", with_tensor(u8 + R"("shape":[[1]],)" + at), "but holds an array"},
      {"string as offsets", with_tensor(u8 + one + R"("data_offsets":"0")"),
       "data_offsets of tensor 't' must be an array, but is a string"},
      {"negative offset", with_tensor(u8 + one + R"("data_offsets":[0,-1])"),
       "data_offsets of tensor 't' must hold non-negative integers, but holds a negative"},
      {"boolean as offset", with_tensor(u8 + one + R"("data_offsets":[0,true])"),
       "data_offsets of tensor 't' must hold non-negative integers, but holds a boolean"},
      {"offset of 65 bits", with_tensor(u8 + one + R"("data_offsets":[0,18446744073709551616])"),
       "data_offsets of tensor 't' must hold non-negative integers, but holds a number that is no 64-bit integer"},
      {"no offset", with_tensor(u8 + one + R"("data_offsets":[])"), "must be two numbers, but has 0"},
      {"one offset", with_tensor(u8 + one + R"("data_offsets":[0])"), "must be two numbers, but has 1"},
      {"three offsets", with_tensor(u8 + one + R"("data_offsets":[0,1,1])"), "has more than two numbers"},
      {"null as metadata", file_of(R"({"__metadata__":null})"),
       "__metadata__ must be an object of strings, but is null"},
      {"array as metadata", file_of(R"({"__metadata__":["a"]})"),
       "__metadata__ must be an object of strings, but is an array"},
      {"number in the metadata", file_of(R"({"__metadata__":{"a":1}})"),
       "__metadata__ 'a' must be a string, but is a number"},
      {"object in the metadata", file_of(R"({"__metadata__":{"a":{}}})"),
       "__metadata__ 'a' must be a string, but is an object"},
  };
}

std::vector<HostileFile> wrong_keys() {
  return {
      {"name twice", safetensors_file("{\"t\":" + entry + ",\"t\":" + entry + "}", "x"),
       "'t' appears twice in the header"},
      {"metadata twice", safetensors_file(R"({"__metadata__":{},"__metadata__":{}})"),
       "'__metadata__' appears twice in the header"},
      {"metadata key twice", safetensors_file(R"({"__metadata__":{"a":"1","a":"2"}})"),
       "'a' appears twice in __metadata__"},
      {"dtype twice", with_tensor(u8 + u8 + one + at), "tensor 't' has dtype twice"},
      {"shape twice", with_tensor(u8 + one + one + at), "tensor 't' has shape twice"},
      {"offsets twice", with_tensor(u8 + one + at + "," + at), "tensor 't' has data_offsets twice"},
      {"unknown field", with_tensor(u8 + one + at + R"(,"order":"C")"), "unknown field 'order'"},
      {"no dtype", with_tensor(one + at), "tensor 't' has no dtype"},
      {"no shape", with_tensor(u8 + at), "tensor 't' has no shape"},
      {"no offsets", with_tensor(R"("dtype":"U8","shape":[1])"), "tensor 't' has no data_offsets"},
  };
}

std::vector<HostileFile> wrong_tensors() {
  const auto two = [](const std::string& a, const std::string& b, const std::string& data) {
    return safetensors_file("{" + a + "," + b + "}", data);
  };
  const auto bytes = [](const std::string& name, int begin, int size) {
    return fmt::format(R"("{}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}})", name, size, begin, begin + size);
  };
  return {
      {"dtype of 8-bit floats", with_tensor(R"("dtype":"F8_E4M3",)" + one + at), "unknown dtype 'F8_E4M3'"},
      {"dtype in small letters", with_tensor(R"("dtype":"u8",)" + one + at), "unknown dtype 'u8'"},
      {"empty dtype", with_tensor(R"("dtype":"",)" + one + at), "unknown dtype ''"},
      {"seven axes", with_tensor(u8 + R"("shape":[1,1,1,1,1,1,1],)" + at), "more than 6 axes"},
      {"2^64 elements", with_tensor(u8 + R"("shape":[4294967296,4294967296],)" + at),
       "[4294967296, 4294967296] whose number of elements does not fit 63 bits"},
      {"extent of 64 bits", with_tensor(u8 + R"("shape":[9223372036854775808],)" + at),
       "[9223372036854775808] whose number of elements"},
      {"2^65 bytes", with_tensor(R"("dtype":"F64","shape":[4611686018427387904],)" + at),
       "number of bytes does not fit 64 bits"},
      {"end before the beginning", with_tensor(u8 + one + R"("data_offsets":[1,0])"),
       "begins at byte 1 after its end at 0"},
      {"end beyond the file", safetensors_file(one_tensor(u8 + one + at)),
       "tensor 't' ends at byte 1, but there are 0 bytes"},
      {"end at 2^64", with_tensor(u8 + one + R"("data_offsets":[18446744073709551614,18446744073709551615])"),
       "ends at byte 18446744073709551615"},
      {"fewer bytes than elements", with_tensor(u8 + R"("shape":[2],)" + at),
       "tensor 't' has 1 bytes, but U8 [2] needs 2"},
      {"fewer bytes than the dtype needs", with_tensor(R"("dtype":"F32",)" + one + at),
       "tensor 't' has 1 bytes, but F32 [1] needs 4"},
      {"bytes of an empty tensor", with_tensor(u8 + R"("shape":[0],)" + at), "but U8 [0] needs 0"},
      {"scalar without bytes", with_tensor(u8 + R"("shape":[],"data_offsets":[0,0])"), "but U8 [] needs 1"},
      {"hole at the front", safetensors_file("{" + bytes("t", 1, 1) + "}", "xy"),
       "bytes 0 to 1 before tensor 't' belong to no tensor"},
      {"hole between tensors", two(bytes("a", 0, 1), bytes("b", 2, 1), "xyz"), "bytes 1 to 2 before tensor 'b'"},
      {"trailing bytes", safetensors_file("{" + bytes("t", 0, 1) + "}", "xyz"), "2 trailing bytes belong to no tensor"},
      {"data without a tensor", safetensors_file("{}", "x"), "1 trailing bytes"},
      {"two tensors in one place", two(bytes("a", 0, 1), bytes("b", 0, 1), "x"),
       "tensor 'b' begins at byte 0, inside the tensor before it, which ends at 1"},
      {"overlapping tensors", two(bytes("a", 0, 3), bytes("b", 1, 1), "xyz"), "tensor 'b' begins at byte 1, inside"},
      {"empty tensor inside another", two(bytes("a", 0, 2), bytes("e", 1, 0), "xy"),
       "tensor 'e' begins at byte 1, inside"},
  };
}

}  // namespace

std::vector<HostileFile> hostile_safetensors() {
  std::vector<HostileFile> files = wrong_headers();
  for (const auto& more : {wrong_types(), wrong_keys(), wrong_tensors()})
    files.insert(files.end(), more.begin(), more.end());
  return files;
}

}  // namespace accrue::testing

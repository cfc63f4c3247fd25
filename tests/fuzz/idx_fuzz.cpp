// An IDX file, plain or compressed as it comes, and then put into a gzip file, which must not change the outcome.
#include <zlib.h>

#include <limits>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "train/gzip.h"
#include "train/idx.h"

namespace accrue::fuzz {
namespace {

using namespace accrue::train;

std::uint64_t allocation_limit(Bytes file) {
  return (is_gzip(file) ? deflate_maximal_ratio : 1) * file.size() + idx_allocation_constant;
}

void put_little_endian(std::vector<std::uint8_t>& file, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) file.push_back(static_cast<std::uint8_t>(value >> 8 * i));
}

// A gzip file of one block that is not compressed (RFC 1951, section 3.2.4).
std::vector<std::uint8_t> stored(Bytes content) {
  std::vector<std::uint8_t> file = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1};
  put_little_endian(file, content.size(), 2);
  put_little_endian(file, ~content.size(), 2);
  file.insert(file.end(), content.begin(), content.end());
  put_little_endian(file, crc32(0, content.data(), static_cast<uInt>(content.size())), 4);
  put_little_endian(file, content.size(), 4);
  return file;
}

void require_whole(const IdxArray& array) {
  std::uint64_t size = 1;
  require(!array.extents.empty(), "an array without axes");
  for (const std::int64_t extent : array.extents) {
    require(extent > 0, "an extent below 1");
    size *= static_cast<std::uint64_t>(extent);
  }
  require(size == array.data.size(), "another size than the product of the extents");
}

}  // namespace
}  // namespace accrue::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  const Bytes file(data, size);
  const auto array = parsed(allocation_limit(file), [&] { return parse_idx(file, "input"); });
  if (array) require_whole(*array);
  if (is_gzip(file) || size > std::numeric_limits<std::uint16_t>::max()) return 0;
  const std::vector<std::uint8_t> compressed = stored(file);
  const auto again = parsed(allocation_limit(compressed), [&] { return parse_idx(compressed, "compressed"); });
  require(array.has_value() == again.has_value(), "compression changes whether a file is accepted");
  require(!array || (array->extents == again->extents && array->data == again->data), "compression changes an array");
  return 0;
}

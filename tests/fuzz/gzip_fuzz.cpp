// A gzip file, read at once and in pieces of a size that the input chooses; and the input as compressed data without
// its frame, which gets a correct one, so that the checksum does not hide what comes before it.
#include <zlib.h>

#include <memory>
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "train/gzip.h"

namespace accrue::fuzz {
namespace {

using namespace accrue::train;
using Content = std::vector<std::uint8_t>;

constexpr std::uint64_t gzip_allocation_constant = 4096;  // the reader itself; the output is the caller's

// As much room as the file can fill, and a byte more; kept, for filling it with zeros would be most of the time.
std::span<std::uint8_t> room_for(Bytes file) {
  static Content room;
  const std::size_t most = deflate_maximal_ratio * file.size() + 1;
  if (room.size() < most) room.resize(most);
  return std::span(room).first(most);
}

std::optional<Content> read_in_pieces(Bytes file, std::size_t piece) {
  const std::span<std::uint8_t> room = room_for(file);
  const auto size = parsed(gzip_allocation_constant, [&] {
    GzipReader reader(file, "input");
    std::size_t filled = 0, got = 0;
    do {
      const auto next = room.subspan(filled, std::min(piece, room.size() - filled));
      got = reader.read(next);
      require(got <= next.size(), "more bytes than asked for");
      filled += got;
      require(filled < room.size(), "more bytes than the compressed data can hold");
    } while (got == piece);
    reader.require_end_of_file();
    return filled;
  });
  if (!size) return std::nullopt;
  return Content(room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*size));
}

// What the input is as raw deflate data, and how many of its bytes that takes.
struct Raw {
  Content content;
  std::size_t used = 0;
};
std::optional<Raw> inflate_raw(Bytes input) {
  const std::span<std::uint8_t> room = room_for(input);
  z_stream stream = {};
  require(inflateInit2(&stream, -15) == Z_OK, "inflateInit2 failed");
  stream.next_in = const_cast<Bytef*>(input.data());
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = room.data();
  stream.avail_out = static_cast<uInt>(room.size());
  const int status = inflate(&stream, Z_FINISH);
  const Raw raw{.content = Content(room.data(), stream.next_out), .used = input.size() - stream.avail_in};
  inflateEnd(&stream);
  return status == Z_STREAM_END ? std::optional(raw) : std::nullopt;
}

Content framed(const Raw& raw, Bytes input) {
  Content file = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
  file.insert(file.end(), input.begin(), input.begin() + static_cast<std::ptrdiff_t>(raw.used));
  const std::uint64_t checksum = crc32(0, raw.content.data(), static_cast<uInt>(raw.content.size()));
  for (const std::uint64_t value : {checksum, std::uint64_t{raw.content.size()}})
    for (int i = 0; i < 4; ++i) file.push_back(static_cast<std::uint8_t>(value >> 8 * i));
  return file;
}

}  // namespace
}  // namespace accrue::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  Bytes input(data, size);
  const std::size_t piece = std::size_t{take<std::uint16_t>(input)} + 1;
  const auto whole = read_in_pieces(input, room_for(input).size()), pieces = read_in_pieces(input, piece);
  require(whole == pieces, "the size of the pieces changes the outcome");
  const auto raw = inflate_raw(input);
  if (!raw) return 0;
  Content file = framed(*raw, input);
  require(read_in_pieces(file, piece) == raw->content, "other content than zlib's");
  file.push_back(0);
  require(!read_in_pieces(file, piece), "a byte behind the compressed data is accepted");
  return 0;
}

#include "train/gzip.h"

#include <zlib.h>

#include <algorithm>

#include "core/check.h"

namespace accrue::train {
namespace {

// zlib counts in 32 bits; larger spans are given to it in pieces.
constexpr std::size_t largest_piece = std::size_t{1} << 30;

constexpr int window_bits_gzip = 15 + 16;  // the largest window, and a gzip header instead of zlib's

}  // namespace

GzipReader::GzipReader(std::span<const std::uint8_t> file, std::string_view name)
    : unread_(file), name_(name), stream_(std::make_unique<z_stream_s>()) {
  const int status = inflateInit2(stream_.get(), window_bits_gzip);
  if (status != Z_OK) fail(ErrorKind::memory, "{}: cannot start decompression: {}", name_, zError(status));
}

GzipReader::~GzipReader() { inflateEnd(stream_.get()); }

std::size_t GzipReader::read(std::span<std::uint8_t> output) {
  std::size_t written = 0;
  while (written < output.size() && !ended_) {
    const auto input_piece = unread_.first(std::min(unread_.size(), largest_piece));
    const auto output_piece = output.subspan(written, std::min(output.size() - written, largest_piece));
    stream_->next_in = const_cast<Bytef*>(input_piece.data());  // zlib's interface predates const and only reads
    stream_->avail_in = static_cast<uInt>(input_piece.size());
    stream_->next_out = output_piece.data();
    stream_->avail_out = static_cast<uInt>(output_piece.size());
    const int status = inflate(stream_.get(), Z_NO_FLUSH);
    unread_ = unread_.subspan(input_piece.size() - stream_->avail_in);
    written += output_piece.size() - stream_->avail_out;
    decompressed_ += output_piece.size() - stream_->avail_out;
    if (status == Z_STREAM_END) {
      // Another member may follow; anything else is for require_end_of_file().
      ended_ = !is_gzip(unread_);
      if (!ended_) inflateReset(stream_.get());
    } else if (status == Z_BUF_ERROR || (status == Z_OK && unread_.empty() && stream_->avail_out > 0)) {
      // No progress, or room left over after the last byte of input.
      fail(ErrorKind::bad_data,
           "{}: the compressed data is truncated (it ends after {} decompressed bytes); get the file again", name_,
           decompressed_);
    } else if (status == Z_MEM_ERROR) {
      fail(ErrorKind::memory, "{}: no memory for decompression", name_);
    } else if (status != Z_OK) {
      // "incorrect data check" is the CRC, "incorrect length check" the length that gzip stores behind the data.
      fail(ErrorKind::bad_data,
           "{}: the compressed data is damaged: {} after {} decompressed bytes; get the file again", name_,
           stream_->msg != nullptr ? stream_->msg : zError(status), decompressed_);
    }
  }
  return written;
}

void GzipReader::require_end_of_file() const {
  check(ended_, "GzipReader: {} has not been read to its end", name_);
  if (!unread_.empty())
    fail(ErrorKind::bad_data, "{}: {} bytes follow the end of the compressed data; get the file again", name_,
         unread_.size());
}

}  // namespace accrue::train

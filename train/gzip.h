// Streaming decompression of a gzip file in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct z_stream_s;  // zlib's state; its header stays out of this one

namespace accrue::train {

// A file of zeros compresses at most this well under deflate (zlib's technical details: 1032:1), which bounds what a
// compressed file can hold before any of it is decompressed.
inline constexpr std::uint64_t deflate_maximal_ratio = 1032;

inline bool is_gzip(std::span<const std::uint8_t> file) {
  return file.size() >= 2 && file[0] == 0x1f && file[1] == 0x8b;
}

// Decompresses a gzip file, of one member or several (RFC 1952, section 2.2), piece by piece into the caller's memory.
// All errors are Error(bad_data) naming the file.
class GzipReader {
 public:
  // The compressed bytes must outlive the reader.
  GzipReader(std::span<const std::uint8_t> file, std::string_view name);
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  // Fills `output` as far as the stream reaches and returns the number of bytes written; fewer only at its end. Throws
  // when the compressed data is damaged, fails its checksum, or ends before its stream does.
  std::size_t read(std::span<std::uint8_t> output);
  // Throws unless the stream has ended and nothing follows it in the file. Call it when read() has met the end.
  void require_end_of_file() const;

 private:
  std::span<const std::uint8_t> unread_;
  std::string name_;
  std::unique_ptr<z_stream_s> stream_;
  std::uint64_t decompressed_ = 0;
  bool ended_ = false;
};

}  // namespace accrue::train

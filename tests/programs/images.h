// Small data sets of labelled images in IDX files, plain or compressed.
#pragma once

#include <zlib.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/train/files.h"

namespace accrue::testing {

inline std::string idx_header(const std::vector<std::uint32_t>& extents) {
  std::string header = {0, 0, 8, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents) {
    for (const int shift : {24, 16, 8, 0}) header.push_back(static_cast<char>(extent >> shift & 255));
  }
  return header;
}

inline std::string gzipped(const std::string& content) {
  z_stream stream{};
  const int gzip_container = 15 + 16;
  EXPECT_EQ(deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, gzip_container, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string compressed(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(compressed.data());
  stream.avail_out = static_cast<uInt>(compressed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  compressed.resize(stream.total_out);
  deflateEnd(&stream);
  return compressed;
}

// One part of a data set ("train" or "t10k") as the contents of its two files.
struct ImageFiles {
  std::string images, labels;
};

// `count` images of side x side pixels with the labels 0, 1, …, 9, 0, …: a bright bar whose place tells the label, in
// noise. side * side must be at least 40.
inline ImageFiles bar_images(std::uint32_t count, std::uint32_t side, std::uint32_t seed) {
  ImageFiles files{.images = idx_header({count, side, side}), .labels = idx_header({count})};
  std::uint32_t noise = seed;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t label = i % 10;
    for (std::uint32_t p = 0; p < side * side; ++p) {
      noise = noise * 1664525u + 1013904223u;
      const bool bright = p / 4 == label;
      files.images.push_back(static_cast<char>((bright ? 150 : 0) + (noise >> 24) % 100));
    }
    files.labels.push_back(static_cast<char>(label));
  }
  return files;
}

enum class Compression { none, gzip };

inline void write_part(const std::filesystem::path& folder, const std::string& part, const ImageFiles& files,
                       Compression compression = Compression::none) {
  std::filesystem::create_directories(folder);
  const bool gzip = compression == Compression::gzip;
  const std::string end = gzip ? ".gz" : "";
  write_file(folder / (part + "-images-idx3-ubyte" + end), gzip ? gzipped(files.images) : files.images);
  write_file(folder / (part + "-labels-idx1-ubyte" + end), gzip ? gzipped(files.labels) : files.labels);
}

// The whole of a set that an MLP learns in a fraction of a second: 200 images to learn, 50 others to test.
inline void write_bars(const std::filesystem::path& folder, Compression compression = Compression::none) {
  write_part(folder, "train", bar_images(200, 7, 1), compression);
  write_part(folder, "t10k", bar_images(50, 7, 2), compression);
}

}  // namespace accrue::testing

// Reader of IDX files, the format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist/): a big-endian header
// of extents, then the values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace accrue::train {

// An array of unsigned bytes, outermost extent first. Extents are positive and their product is data.size().
struct IdxArray {
  std::vector<std::int64_t> extents;
  std::vector<std::uint8_t> data;
};

// What parse_idx() allocates besides the array, which has at most one byte for each byte of a plain file, and
// deflate_maximal_ratio (train/gzip.h) for each of a compressed one. zlib takes about 50 KB more.
inline constexpr std::size_t idx_allocation_constant = 4096;

// Reads an IDX file of unsigned bytes, plain or gzip-compressed (told by its first bytes, not its name).
// Throws Error(no_input) when it cannot be opened, Error(bad_data) when its content is not exactly one such array.
// Nothing is allocated for a header that promises more than the file can hold.
IdxArray read_idx(const std::filesystem::path& path);

// The same for the bytes of a file; `name` stands for it in errors.
IdxArray parse_idx(std::span<const std::uint8_t> file, std::string_view name);

// Grey images with a class each: pixels [count, rows, columns] in 0..255, labels [count] in [0, classes).
struct LabelledImages {
  std::int64_t count = 0, rows = 0, columns = 0;
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> labels;
};

// Loads <folder>/<part>-images-idx3-ubyte and <part>-labels-idx1-ubyte, each plain or with .gz; `part` is "train" or
// "t10k" (the test part). Throws Error(no_input) naming the paths tried and the package that has the data,
// Error(bad_data) when the two files disagree in count, have other axes than images and labels, or hold a label outside
// [0, classes).
LabelledImages load_labelled_images(const std::filesystem::path& folder, std::string_view part, int classes = 10);

}  // namespace accrue::train

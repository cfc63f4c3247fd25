#include "train/idx.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "train/gzip.h"
#include "train/mapped_file.h"

namespace accrue::train {
namespace {

constexpr std::size_t most_axes = 6;  // as many as an accrue::Shape has
constexpr std::uint8_t ubyte_code = 0x08;

const char* type_name(std::uint8_t code) {
  switch (code) {
    case 0x09:
      return "signed bytes";
    case 0x0b:
      return "16-bit integers";
    case 0x0c:
      return "32-bit integers";
    case 0x0d:
      return "32-bit floats";
    case 0x0e:
      return "64-bit floats";
    default:
      return "no type of the format";
  }
}

// The content of the file in order, decompressed or not, so that the format is parsed in one place.
class Content {
 public:
  Content(std::span<const std::uint8_t> file, std::string_view name)
      : plain_(file), file_size_(file.size()), name_(name) {
    if (is_gzip(file)) gzip_.emplace(file, name);
  }

  std::size_t read(std::span<std::uint8_t> output) {
    if (gzip_) return gzip_->read(output);
    const std::size_t count = std::min(output.size(), plain_.size());
    std::copy_n(plain_.begin(), count, output.begin());
    plain_ = plain_.subspan(count);
    return count;
  }

  // Bytes the whole content can have at most.
  std::uint64_t capacity() const { return gzip_ ? file_size_ * deflate_maximal_ratio : file_size_; }

  void require_end() {
    std::array<std::uint8_t, 1> beyond{};
    if (read(beyond) != 0)
      fail(ErrorKind::bad_data,
           "{}: has trailing bytes after the array that its header describes; it is damaged or of another format",
           name_);
    if (gzip_) gzip_->require_end_of_file();
  }

 private:
  std::span<const std::uint8_t> plain_;
  std::uint64_t file_size_;
  std::string_view name_;
  std::optional<GzipReader> gzip_;
};

std::int64_t big_endian(std::span<const std::uint8_t, 4> bytes) {
  std::int64_t value = 0;
  for (const std::uint8_t byte : bytes) value = value << 8 | byte;
  return value;
}

std::vector<std::int64_t> read_header(Content& content, std::string_view name) {
  std::array<std::uint8_t, 4> magic{};
  const std::size_t got = content.read(magic);
  if (got < magic.size())
    fail(ErrorKind::bad_data, "{}: truncated: an IDX file starts with 4 bytes, but this one has {}", name, got);
  if (magic[0] != 0 || magic[1] != 0)
    fail(ErrorKind::bad_data, "{}: is no IDX file: it starts with the bytes {:02x} {:02x} instead of 00 00", name,
         magic[0], magic[1]);
  if (magic[2] != ubyte_code)
    fail(ErrorKind::bad_data, "{}: type code 0x{:02x} ({}) where unsigned bytes (0x08) are needed", name, magic[2],
         type_name(magic[2]));
  const std::size_t axes = magic[3];
  if (axes < 1 || axes > most_axes)
    fail(ErrorKind::bad_data, "{}: has {} axes, but an array of 1 to {} is needed", name, axes, most_axes);
  std::vector<std::int64_t> extents;
  for (std::size_t axis = 0; axis < axes; ++axis) {
    std::array<std::uint8_t, 4> bytes{};
    if (content.read(bytes) < bytes.size())
      fail(ErrorKind::bad_data, "{}: truncated in the header: the extent of axis {} of {} is missing", name, axis,
           axes);
    extents.push_back(big_endian(bytes));
    if (extents.back() == 0) fail(ErrorKind::bad_data, "{}: axis {} has extent 0, so there is no data", name, axis);
  }
  return extents;
}

std::uint64_t checked_size(const std::vector<std::int64_t>& extents, std::uint64_t capacity, std::string_view name) {
  std::uint64_t size = 1;
  for (const std::int64_t extent : extents)
    if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size))
      fail(ErrorKind::bad_data, "{}: extents [{}] are too large: their product does not fit 64 bits", name,
           fmt::join(extents, ", "));
  if (size > capacity)
    fail(ErrorKind::bad_data,
         "{}: truncated: the header promises {} bytes of data ([{}]), but a file of this size holds at most {}", name,
         size, fmt::join(extents, ", "), capacity);
  return size;
}

// By decompressing it all and keeping nothing: its header may promise a thousand times what is there, and no memory is
// asked for on that word alone.
std::uint64_t decompressed_size(std::span<const std::uint8_t> file, std::string_view name) {
  GzipReader reader(file, name);
  std::array<std::uint8_t, 1 << 16> piece;
  std::uint64_t size = 0;
  for (std::size_t got = piece.size(); got == piece.size(); size += got) got = reader.read(piece);
  return size;
}

MappedFile open_either(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path plain = folder / name, compressed = folder / (name + ".gz");
  std::error_code ignored;  // an unreadable folder ends as "missing", with the paths
  if (std::filesystem::exists(plain, ignored)) return MappedFile(plain);
  if (std::filesystem::exists(compressed, ignored)) return MappedFile(compressed);
  fail(ErrorKind::no_input,
       "no {0}: tried {1} and {2}; name the folder that has it, or install Debian's package dataset-fashion-mnist, "
       "which "
       "puts Fashion-MNIST into /usr/share/datasets/fashion-mnist",
       name, plain.string(), compressed.string());
}

IdxArray read_whole(const MappedFile& file) {
  return file.read_intact([&](auto bytes) { return parse_idx(bytes, file.path().string()); });
}

IdxArray load(const MappedFile& file, std::size_t axes, const char* meaning) {
  IdxArray array = read_whole(file);
  if (array.extents.size() != axes)
    fail(ErrorKind::bad_data, "{}: {} have {} ax{}, but this array has {} ([{}])", file.path().string(), meaning, axes,
         axes == 1 ? "is" : "es", array.extents.size(), fmt::join(array.extents, ", "));
  return array;
}

}  // namespace

IdxArray read_idx(const std::filesystem::path& path) {
  const MappedFile file(path);
  return read_whole(file);
}

IdxArray parse_idx(std::span<const std::uint8_t> file, std::string_view name) {
  Content content(file, name);
  IdxArray array;
  array.extents = read_header(content, name);
  const std::uint64_t header_size = 4 + 4 * array.extents.size();
  const std::uint64_t capacity = content.capacity();
  const std::uint64_t size = checked_size(array.extents, capacity > header_size ? capacity - header_size : 0, name);
  const std::uint64_t there = (is_gzip(file) ? decompressed_size(file, name) : file.size()) - header_size;
  if (there < size)
    fail(ErrorKind::bad_data, "{}: truncated: the header promises {} bytes of data ([{}]), but there are {}", name,
         size, fmt::join(array.extents, ", "), there);
  array.data.resize(size);
  content.read(array.data);
  content.require_end();
  return array;
}

LabelledImages load_labelled_images(const std::filesystem::path& folder, std::string_view part, int classes) {
  check(part == "train" || part == "t10k", "load_labelled_images: the part must be train or t10k, but is {}", part);
  check(classes >= 1 && classes <= 256, "load_labelled_images: classes must be 1 to 256, but are {}", classes);
  const MappedFile image_file = open_either(folder, fmt::format("{}-images-idx3-ubyte", part));
  const MappedFile label_file = open_either(folder, fmt::format("{}-labels-idx1-ubyte", part));
  IdxArray images = load(image_file, 3, "images");
  IdxArray labels = load(label_file, 1, "labels");
  if (images.extents[0] != labels.extents[0])
    fail(ErrorKind::bad_data, "{} has {} images, but {} has {} labels; take both from the same data set",
         image_file.path().string(), images.extents[0], label_file.path().string(), labels.extents[0]);
  const auto bad =
      std::find_if(labels.data.begin(), labels.data.end(), [&](std::uint8_t label) { return label >= classes; });
  if (bad != labels.data.end())
    fail(ErrorKind::bad_data, "{}: label {} of image {} is outside the {} classes 0 to {}", label_file.path().string(),
         *bad, bad - labels.data.begin(), classes, classes - 1);
  return {.count = images.extents[0],
          .rows = images.extents[1],
          .columns = images.extents[2],
          .pixels = std::move(images.data),
          .labels = std::move(labels.data)};
}

}  // namespace accrue::train

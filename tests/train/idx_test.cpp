#include "train/idx.h"

#include <filesystem>
#include <string>
#include <vector>

#include "tests/train/files.h"
#include "tests/train/hostile_files.h"

namespace accrue::train {
namespace {

using accrue::testing::error_of;
using accrue::testing::gzip;
using accrue::testing::idx_header;
using accrue::testing::TemporaryFolder;
using accrue::testing::write_file;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

IdxArray parse(const std::string& file) {
  // An exact heap copy: ASan sees a read past its end.
  const std::vector<std::uint8_t> bytes(file.begin(), file.end());
  return parse_idx(bytes, "file");
}

std::string idx_refusal(const std::string& file) {
  return error_of(ErrorKind::bad_data, [&] { parse(file); });
}

const std::string six = idx_header({2, 3}) + "abcdef";

TEST(Idx, ReadsPlainAndCompressedFilesByContentNotByName) {
  const TemporaryFolder folder;
  write_file(folder / "plain.gz", six);
  write_file(folder / "compressed", gzip(six));
  for (const char* name : {"plain.gz", "compressed"}) {
    const IdxArray array = read_idx(folder / name);
    EXPECT_THAT(array.extents, ElementsAre(2, 3)) << name;
    EXPECT_THAT(array.data, ElementsAre('a', 'b', 'c', 'd', 'e', 'f')) << name;
  }
}

TEST(Idx, ReadsOneToSixAxes) {
  std::vector<std::uint32_t> extents;
  for (std::size_t axes = 1; axes <= 6; ++axes) {
    extents.push_back(2);
    EXPECT_EQ(parse(idx_header(extents) + std::string(std::size_t{1} << axes, 'x')).extents.size(), axes);
  }
}

TEST(Idx, ReadsWhatCompressesAsWellAsDeflateCan) {
  // A megabyte of zeros shrinks by about 1000:1, so the bound on what a file can hold must not be tighter.
  const std::string zeros = idx_header({1 << 24}) + std::string(1 << 24, '\0');
  const std::string file = gzip(zeros);
  EXPECT_GT(zeros.size() / file.size(), 1000u);
  EXPECT_EQ(parse(file).data.size(), std::size_t{1} << 24);
}

// RFC 1952, section 2.2: what `cat a.gz b.gz` makes is the content of both.
TEST(Idx, ReadsAFileOfSeveralGzipMembers) {
  for (std::size_t cut = 0; cut <= six.size(); ++cut) {
    const std::string file = gzip(six.substr(0, cut)) + gzip(six.substr(cut));
    EXPECT_THAT(parse(file).data, ElementsAre('a', 'b', 'c', 'd', 'e', 'f')) << cut;
    EXPECT_THAT(idx_refusal(file + gzip("g")), HasSubstr("trailing bytes")) << cut;
    EXPECT_THAT(idx_refusal(file + "g"), HasSubstr("1 bytes follow the end of the compressed data")) << cut;
  }
}

TEST(Idx, EveryTruncationIsAnErrorThatSaysSo) {
  for (std::size_t size = 0; size < six.size(); ++size)
    EXPECT_THAT(idx_refusal(six.substr(0, size)), HasSubstr("truncated")) << size;
  const std::string compressed = gzip(six);
  for (std::size_t size = 2; size < compressed.size(); ++size)
    EXPECT_THAT(idx_refusal(compressed.substr(0, size)), HasSubstr("truncated")) << size;
}

TEST(Idx, EveryFlippedBitOfACompressedFileIsAnErrorOrChangesNothing) {
  const std::string compressed = gzip(six);
  int refused = 0;
  for (std::size_t bit = 0; bit < 8 * compressed.size(); ++bit) {
    std::string damaged = compressed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    try {
      // What still passes changed a field of the gzip header that carries no data: time, system, flags.
      EXPECT_THAT(parse(damaged).data, ElementsAre('a', 'b', 'c', 'd', 'e', 'f'));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::bad_data) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(4 * compressed.size()));
}

class LabelledImagesTest : public ::testing::Test {
 protected:
  std::string refusal_of(const std::string& images, const std::string& labels) {
    write_file(folder_ / "train-images-idx3-ubyte", images);
    write_file(folder_ / "train-labels-idx1-ubyte", labels);
    return error_of(ErrorKind::bad_data, [&] { load_labelled_images(folder_.path(), "train"); });
  }
  TemporaryFolder folder_;
  const std::string images_ = idx_header({2, 1, 3}) + "abcdef";
  const std::string labels_ = idx_header({2}) + std::string("\x00\x09", 2);
};

TEST_F(LabelledImagesTest, LoadsPlainAndCompressedFiles) {
  write_file(folder_ / "t10k-images-idx3-ubyte", images_);
  write_file(folder_ / "t10k-labels-idx1-ubyte.gz", gzip(labels_));
  const LabelledImages data = load_labelled_images(folder_.path(), "t10k");
  EXPECT_EQ(data.count, 2);
  EXPECT_EQ(data.rows, 1);
  EXPECT_EQ(data.columns, 3);
  EXPECT_EQ(data.pixels.size(), 6u);
  EXPECT_THAT(data.labels, ElementsAre(0, 9));
}

TEST_F(LabelledImagesTest, MissingFilesNameThePathsAndThePackage) {
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { load_labelled_images(folder_.path(), "train"); }),
              AllOf(HasSubstr((folder_ / "train-images-idx3-ubyte ").string()),
                    HasSubstr((folder_ / "train-images-idx3-ubyte.gz").string()), HasSubstr("dataset-fashion-mnist"),
                    HasSubstr("/usr/share/datasets/fashion-mnist")));
  write_file(folder_ / "train-images-idx3-ubyte", images_);
  EXPECT_THAT(error_of(ErrorKind::no_input, [&] { load_labelled_images(folder_.path(), "train"); }),
              HasSubstr("train-labels-idx1-ubyte.gz"));
}

TEST_F(LabelledImagesTest, FilesThatDisagreeAreBadData) {
  EXPECT_THAT(refusal_of(images_, idx_header({3}) + std::string(3, '\0')),
              AllOf(HasSubstr("has 2 images"), HasSubstr("has 3 labels")));
  EXPECT_THAT(refusal_of(labels_, images_), HasSubstr("images have 3 axes, but this array has 1"));
  EXPECT_THAT(refusal_of(images_, images_), HasSubstr("labels have 1 axis, but this array has 3"));
  EXPECT_THAT(refusal_of(images_, idx_header({2}) + std::string("\x00\x0a", 2)),
              HasSubstr("label 10 of image 1 is outside the 10 classes 0 to 9"));
}

TEST_F(LabelledImagesTest, TheNumberOfClassesIsAParameter) {
  write_file(folder_ / "train-images-idx3-ubyte", images_);
  write_file(folder_ / "train-labels-idx1-ubyte", labels_);
  EXPECT_EQ(load_labelled_images(folder_.path(), "train", 26).count, 2);
  EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { load_labelled_images(folder_.path(), "train", 9); }),
              HasSubstr("label 9 of image 1"));
  error_of(ErrorKind::internal, [&] { load_labelled_images(folder_.path(), "validation"); });
}

TEST(FashionMnist, TheDebianPackageLoads) {
  const std::filesystem::path folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  const LabelledImages train = load_labelled_images(folder, "train");
  EXPECT_EQ(train.count, 60000);
  EXPECT_EQ(train.rows, 28);
  EXPECT_EQ(train.columns, 28);
  std::vector<int> per_class(10);
  for (const std::uint8_t label : train.labels) ++per_class[label];
  EXPECT_THAT(per_class, ::testing::Each(6000));
  EXPECT_EQ(load_labelled_images(folder, "t10k").count, 10000);
}

}  // namespace
}  // namespace accrue::train

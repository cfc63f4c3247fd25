// Whoever reads a file that was mapped whole and is no longer: an error, and nothing made of the zeros.
#include <functional>
#include <memory>
#include <numeric>
#include <vector>

#include "tests/train/files.h"
#include "train/dataset.h"
#include "train/safetensors.h"
#include "train/token_data.h"
#include "train/weights_file.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::size_t several_pages = 5 << 16;  // 5 where they are largest

class ShrunkenText : public ::testing::Test {
 protected:
  ShrunkenText() {
    write_file(path, std::string(several_pages, 'x'));
    file = std::make_unique<TokenFile>(path);
  }
  void expect_truncated(const std::function<void()>& read) const {
    EXPECT_THAT(error_of(ErrorKind::bad_data, read), AllOf(HasSubstr(path.string()), HasSubstr("was truncated")));
  }

  TemporaryFolder folder;
  fs::path path = folder / "text";
  std::unique_ptr<TokenFile> file;
};

TEST_F(ShrunkenText, HasNoSamplesNotEvenThoseBeforeItsEnd) {
  const std::int64_t context = 16;
  const TokenSamples samples(file->tokens(), context, "text");
  const TextDataset data(samples);
  std::vector<std::int32_t> tokens(context), targets(context);
  samples.copy(samples.size() - 1, tokens, targets);
  for (const std::size_t size : {several_pages - 1, several_pages / 2, std::size_t{0}}) {
    fs::resize_file(path, size);
    expect_truncated([&] { samples.copy(0, tokens, targets); });
    expect_truncated([&] { samples.copy(samples.size() - 1, tokens, targets); });
    expect_truncated([&] { data.batch(std::vector<std::int64_t>{0, samples.size() - 1}, Device::cpu()); });
  }
}

// Taken when it was opened, so that a text that is cut later cannot pass for another one.
TEST_F(ShrunkenText, KeepsItsIdentity) {
  const DataIdentity opened = DataIdentity().add(file->tokens());
  fs::resize_file(path, 0);
  EXPECT_EQ(file->identity(), opened);
}

TEST_F(ShrunkenText, HasNoVocabulary) {
  file->require_vocabulary(256);
  fs::resize_file(path, several_pages - 1);
  expect_truncated([&] { file->require_vocabulary(256); });
  fs::resize_file(path, 0);
  expect_truncated([&] { file->require_vocabulary('x'); });  // 'x' itself would be refused, if it were still there
}

class ShrunkenTensors : public ::testing::Test {
 protected:
  ShrunkenTensors() {
    std::iota(values.begin(), values.end(), 1.0f);
    const Shape shape{static_cast<std::int64_t>(values.size())};
    const Tensor tensor = Tensor::from<float>(values, shape);
    write_tensors(path, {{.name = "first", .tensor = tensor}, {.name = "second", .tensor = tensor}});
    size = fs::file_size(path);
  }
  void expect_truncated(const std::function<void()>& read) const {
    EXPECT_THAT(error_of(ErrorKind::bad_data, read), AllOf(HasSubstr(path.string()), HasSubstr("was truncated")));
  }

  TemporaryFolder folder;
  fs::path path = folder / "model.safetensors";
  std::vector<float> values = std::vector<float>(several_pages / sizeof(float));
  std::uintmax_t size = 0;
};

TEST_F(ShrunkenTensors, HaveNoValues) {
  const SafetensorsFile file(path);
  EXPECT_EQ(to_floats(file.get("second")), values);
  EXPECT_EQ(copy_of_bytes(file.get("second")).size(), several_pages);
  for (const std::uintmax_t left : {size - 1, size / 2, std::uintmax_t{0}}) {
    fs::resize_file(path, left);
    for (const char* name : {"first", "second"}) {
      expect_truncated([&] { to_floats(file.get(name)); });
      expect_truncated([&] { copy_of_bytes(file.get(name)); });
    }
  }
}

TEST_F(ShrunkenTensors, DoNotReachTheWeights) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  const std::vector<float> sevens(values.size(), 7.0f);
  const Tensor first = Tensor::from<float>(sevens, shape), second = Tensor::from<float>(sevens, shape);
  const FittingTensors tensors(path, {{.name = "first", .tensor = first}, {.name = "second", .tensor = second}});
  fs::resize_file(path, size / 2);
  expect_truncated([&] { tensors.load(); });
  EXPECT_EQ(first.to_vector<float>(), sevens);
  EXPECT_EQ(second.to_vector<float>(), sevens);
}

}  // namespace
}  // namespace accrue::train

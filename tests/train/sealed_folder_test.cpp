#include "train/sealed_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "nn/mlp.h"
#include "tests/testing/saving.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/checksum.h"
#include "train/run_directory.h"

namespace accrue::train {
namespace {

namespace fs = std::filesystem;
using namespace accrue::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* both[] = {"a.json", "b.safetensors"};

class SealedFolder : public ::testing::Test {
 protected:
  SealedFolder() {
    SealedFolderWriter writer(parent());
    writer.write("a.json", "{}\n");
    writer.write("b.safetensors", [](const SealedFolderWriter::Sink& sink) {
      for (const char* piece : {"some", "", " bytes"}) sink(std::as_bytes(std::span(std::string_view(piece))));
    });
    writer.publish("one");
  }
  fs::path parent() const { return folder.path() / "parent"; }
  fs::path one() const { return parent() / "one"; }
  std::string damage() const { return damage_of_folder(one(), both); }

  TemporaryFolder folder;
};

TEST_F(SealedFolder, HasTheFilesAndTheirChecksums) {
  EXPECT_EQ(read_file(one() / "a.json"), "{}\n");
  EXPECT_EQ(read_file(one() / "b.safetensors"), "some bytes");
  // As `xxh128sum a.json b.safetensors` prints them.
  EXPECT_EQ(read_file(one() / checksums_name),
            "7809095c382d5f77daa13e4f205dc5ba  a.json\n99736577b441a1bbd3ec197fe371e984  b.safetensors\n");
  EXPECT_EQ(damage(), "");
  EXPECT_FALSE(fs::exists(parent() / ".saving"));
}

TEST_F(SealedFolder, ThatIsNotPublishedLeavesNothing) {
  {
    SealedFolderWriter writer(parent());
    writer.write("a.json", "{}");
    EXPECT_TRUE(fs::exists(parent() / ".saving/a.json"));
  }
  EXPECT_FALSE(fs::exists(parent() / ".saving"));
}

TEST_F(SealedFolder, IsWrittenOverWhatAKilledProcessHasLeft) {
  fs::create_directory(parent() / ".saving");
  write_file(parent() / ".saving/a.json", "half");
  SealedFolderWriter writer(parent());
  writer.write("a.json", "whole");
  writer.publish("two");
  EXPECT_EQ(read_file(parent() / "two/a.json"), "whole");
}

TEST_F(SealedFolder, NeverTakesANameThatIsTaken) {
  write_file(one() / "precious", "");
  SealedFolderWriter writer(parent());
  writer.write("a.json", "new");
  EXPECT_THAT(error_of(ErrorKind::io, [&] { writer.publish("one"); }), HasSubstr("cannot be renamed"));
  EXPECT_EQ(read_file(one() / "a.json"), "{}\n");
}

TEST_F(SealedFolder, AFileThatReadsBackOtherThanItWasWrittenIsNotPublished) {
  SealedFolderWriter writer(parent());
  writer.write("a.json", "right");
  write_file(parent() / ".saving/a.json", "wrong");
  EXPECT_THAT(error_of(ErrorKind::io, [&] { writer.publish("two"); }),
              AllOf(HasSubstr("a.json"), HasSubstr("reads back other than it was written")));
  EXPECT_FALSE(fs::exists(parent() / "two"));
}

TEST_F(SealedFolder, AFolderThatCannotBeMadeIsCannotCreate) {
  write_file(folder / "file", "");
  EXPECT_THAT(error_of(ErrorKind::cannot_create, [&] { SealedFolderWriter writer(folder / "file"); }),
              HasSubstr("cannot be created"));
}

TEST_F(SealedFolder, SaysWhatIsWrong) {
  write_file(one() / "b.safetensors", "some bytez");
  EXPECT_THAT(damage(), AllOf(HasSubstr("b.safetensors is damaged"), HasSubstr("99736577")));
  fs::remove(one() / "b.safetensors");
  EXPECT_THAT(damage(), HasSubstr("b.safetensors is missing"));
  fs::create_directory(one() / "b.safetensors");
  EXPECT_THAT(damage(), HasSubstr("b.safetensors is no file"));
  fs::remove(one() / "b.safetensors");
  seal_folder(one());
  EXPECT_THAT(damage(), HasSubstr("does not name b.safetensors"));
  fs::remove(one() / checksums_name);
  EXPECT_THAT(damage(), HasSubstr("checksums.xxh128 is missing"));
  fs::remove_all(one());
  EXPECT_THAT(damage(), HasSubstr("is missing"));
}

TEST_F(SealedFolder, ChecksumsThatAreNoneAreDamage) {
  const std::string a = "7809095c382d5f77daa13e4f205dc5ba  a.json\n",
                    b = "99736577b441a1bbd3ec197fe371e984  b.safetensors\n";
  std::string upper = a;
  upper[7] = 'C';
  for (const std::string& text : {std::string(), a, a + a + b, a + b.substr(0, b.size() - 1), upper + b, "\n" + a + b,
                                  a + b + "\n", a + b + "99736577b441a1bbd3ec197fe371e984  ../parent/one/a.json\n",
                                  a + b + "99736577b441a1bbd3ec197fe371e984  .hidden\n",
                                  a + b + "99736577b441a1bbd3ec197fe371e984  \n", a + b + std::string(100000, '0')}) {
    write_file(one() / checksums_name, text);
    EXPECT_THAT(damage(), HasSubstr(checksums_name)) << text.substr(0, 200);
  }
}

TEST_F(SealedFolder, ASealOfToday) {
  write_file(one() / "a.json", "{\"changed\": 1}");
  EXPECT_NE(damage(), "");
  seal_folder(one());
  EXPECT_EQ(damage(), "");
}

TEST(Checksum, IsThatOfTheWholeInWhateverPieces) {
  const std::string text = "The quick brown fox jumps over the lazy dog";
  const auto bytes = std::as_bytes(std::span(text));
  Checksum whole, pieces;
  whole.add(bytes);
  for (std::size_t i = 0; i < bytes.size(); i += 5)
    pieces.add(bytes.subspan(i, std::min<std::size_t>(5, bytes.size() - i)));
  EXPECT_EQ(whole.text(), "ddd650205ca3e7fa24a1cc2e3a8a7651");
  EXPECT_EQ(pieces.text(), whole.text());
  EXPECT_EQ(Checksum().text(), "99aa06d3014798d86001c324468d497f");
}

// A run with two checkpoints of a model of a few bytes, the newer one made inside a window.
class DamagedCheckpoint : public ::testing::Test {
 protected:
  DamagedCheckpoint() {
    make_run_directory(run());
    training.window(class_samples(2, 1, 2, 1));
    save_training(run(), training, {.config = {{"w", 1}}});
    training.accumulator.open_window(2);
    training.micro_batch(class_samples(2, 1, 2, 2));
    save_training(run(), training, {.config = {{"w", 1}}});
  }
  const fs::path& run() const { return folder.path(); }
  fs::path older() const { return run() / "checkpoints/update-00000001"; }
  fs::path newer() const { return run() / "checkpoints/update-00000001.1"; }
  // In place: to write the file anew takes a file system a hundred times longer.
  static void change_byte(const fs::path& file, std::size_t position, char byte) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(position)).put(byte);
    ASSERT_TRUE(stream.flush().good()) << file;
  }

  TemporaryFolder folder;
  Training<nn::Mlp> training{nn::Mlp({1, 2})};
};

TEST_F(DamagedCheckpoint, IsCaughtAtEveryLengthThatAFileIsCutTo) {
  std::size_t lengths = 0;
  for (const auto& entry : fs::directory_iterator(newer())) {
    const std::string content = read_file(entry.path());
    for (std::size_t length = content.size(); length-- > 0; ++lengths) {
      SCOPED_TRACE(entry.path().filename().string() + " cut to " + std::to_string(length));
      fs::resize_file(entry.path(), length);
      EXPECT_NE(damage_of_checkpoint(newer()), "");
      if (length % 64 == 0) {
        EXPECT_EQ(find_resume_point(run()).checkpoint, older());
      }
    }
    write_file(entry.path(), content);
  }
  EXPECT_EQ(find_resume_point(run()).checkpoint, newer());
  EXPECT_GT(lengths, 1000u);
  RecordProperty("lengths", static_cast<int>(lengths));
}

TEST_F(DamagedCheckpoint, IsCaughtWhateverBitIsFlipped) {
  std::size_t bits = 0;
  for (const auto& entry : fs::directory_iterator(newer())) {
    std::string content = read_file(entry.path());
    for (std::size_t bit = 0; bit < 8 * content.size(); ++bit, ++bits) {
      SCOPED_TRACE(entry.path().filename().string() + " with bit " + std::to_string(bit) + " flipped");
      content[bit / 8] = static_cast<char>(content[bit / 8] ^ (1 << bit % 8));
      change_byte(entry.path(), bit / 8, content[bit / 8]);
      EXPECT_NE(damage_of_checkpoint(newer()), "");
      if (bit % 512 == 0) {
        EXPECT_EQ(find_resume_point(run()).checkpoint, older());
      }
      content[bit / 8] = static_cast<char>(content[bit / 8] ^ (1 << bit % 8));
      change_byte(entry.path(), bit / 8, content[bit / 8]);
    }
  }
  EXPECT_EQ(find_resume_point(run()).checkpoint, newer());
  EXPECT_GT(bits, 10000u);
  RecordProperty("bits", static_cast<int>(bits));
}

TEST_F(DamagedCheckpoint, IsCaughtWhicheverFileIsGone) {
  for (const auto& entry : fs::directory_iterator(newer())) {
    const fs::path aside = folder / "aside";
    fs::rename(entry.path(), aside);
    EXPECT_EQ(find_resume_point(run()).checkpoint, older()) << entry.path();
    fs::rename(aside, entry.path());
  }
}

}  // namespace
}  // namespace accrue::train

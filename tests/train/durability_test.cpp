// What a power cut must not take: the files of a checkpoint and the names that lead to them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "nn/mlp.h"
#include "tests/testing/saving.h"
#include "tests/testing/training.h"
#include "tests/train/files.h"
#include "train/checkpoint.h"
#include "train/json_lines.h"
#include "train/run_directory.h"

namespace {
std::vector<std::string> synced;  // what fsync was called for, in order
std::vector<bool> pointed;        // whether `watched` was a link at that time
std::filesystem::path watched;
int sync_error = 0;  // what fsync fails with
}  // namespace

// In place of the C library's, so that the calls can be seen.
extern "C" int fsync(int fd) {
  std::error_code error;
  synced.push_back(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error).string());
  pointed.push_back(std::filesystem::is_symlink(watched, error));
  if (sync_error != 0) {
    errno = sync_error;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::Contains;

std::ptrdiff_t position_of(const std::string& path) {
  const auto found = std::find(synced.begin(), synced.end(), path);
  return found == synced.end() ? -1 : found - synced.begin();
}

TEST(Durability, ACheckpointIsOnTheDiskBeforeLatestPointsAtIt) {
  const TemporaryFolder folder;
  make_run_directory(folder.path());
  Training<nn::Mlp> training{nn::Mlp({3, 2})};
  synced.clear();
  pointed.clear();
  watched = folder / "latest";
  save_training(folder.path(), training);
  const std::string root = std::filesystem::canonical(folder.path()).string();
  const std::string fresh = root + "/checkpoints/.saving";
  const std::ptrdiff_t own_names = position_of(fresh), names = position_of(root + "/checkpoints"),
                       links = position_of(root);
  for (const char* file :
       {"model.safetensors", "optimizer.safetensors", "config.json", "state.json", "checksums.xxh128"}) {
    EXPECT_THAT(synced, Contains(fresh + "/" + file));
    EXPECT_LT(position_of(fresh + "/" + file), own_names);
  }
  EXPECT_LT(own_names, names);
  ASSERT_LT(names, links);
  EXPECT_FALSE(pointed[static_cast<std::size_t>(names)]);
  EXPECT_TRUE(pointed[static_cast<std::size_t>(links)]);
}

TEST(Durability, ALogIsOnTheDiskWhenAskedFor) {
  const TemporaryFolder folder;
  JsonLines log(folder / "log.jsonl", JsonLines::Mode::start_over);
  synced.clear();
  log.write({{"window", 0}});
  EXPECT_THAT(synced, ::testing::IsEmpty()) << "a line a window must not wait for the disk";
  log.make_durable();
  const std::string path = std::filesystem::canonical(folder / "log.jsonl").string();
  EXPECT_THAT(synced, ::testing::ElementsAre(path));
  EXPECT_EQ(read_file(path), "{\"window\":0}\n");
  sync_error = EIO;
  EXPECT_THAT(error_of(ErrorKind::io, [&] { log.make_durable(); }),
              ::testing::AllOf(::testing::HasSubstr("log.jsonl"), ::testing::HasSubstr("Input/output error")));
  sync_error = 0;
  log.make_durable();
}

TEST(Durability, AShortenedLogIsOnTheDisk) {
  const TemporaryFolder folder;
  write_file(folder / "log.jsonl", "{\"window\":0}\n{\"window\":1}\n");
  synced.clear();
  truncate_after(folder / "log.jsonl", 1);
  const std::string root = std::filesystem::canonical(folder.path()).string();
  EXPECT_THAT(synced, ::testing::ElementsAre(root + "/log.jsonl.tmp", root));
}

}  // namespace
}  // namespace accrue::train

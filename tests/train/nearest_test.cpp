#include "train/nearest.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace accrue::train {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsSubstitutionsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("train", "train"), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("trin", "train"), 1u);
  EXPECT_EQ(edit_distance("traiin", "train"), 1u);
  EXPECT_EQ(edit_distance("trein", "train"), 1u);
  EXPECT_EQ(edit_distance("tarin", "train"), 1u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);  // optimal string alignment edits no part twice
}

RC_GTEST_PROP(EditDistance, IsSymmetricAndBoundedByTheLongerWord, (const std::string& a, const std::string& b)) {
  const std::size_t distance = edit_distance(a, b);
  RC_ASSERT(distance == edit_distance(b, a));
  RC_ASSERT(distance <= std::max(a.size(), b.size()));
  RC_ASSERT(distance >= std::max(a.size(), b.size()) - std::min(a.size(), b.size()));
  RC_ASSERT((distance == 0) == (a == b));
}

RC_GTEST_PROP(EditDistance, OneMoreCharacterIsOneMoreEditAtMost, (const std::string& a, const std::string& b, char c)) {
  const std::size_t distance = edit_distance(a, b), longer = edit_distance(a, b + c);
  RC_ASSERT(longer <= distance + 1);
  RC_ASSERT(distance <= longer + 1);
}

TEST(Nearest, IsTheChoiceWithTheFewestEditsAndTheFirstOfSeveral) {
  EXPECT_EQ(nearest("--micro-bath", {"--global-batch", "--micro-batch"}), "--micro-batch");
  EXPECT_EQ(nearest("x", {"a", "b"}), "a");
  EXPECT_EQ(nearest("x", {}), "");
}

}  // namespace
}  // namespace accrue::train

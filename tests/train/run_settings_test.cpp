#include "train/run_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace accrue::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

DataIdentity identity_of(const std::string& text) {
  return DataIdentity().add({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

TEST(DataIdentity, IsXxh3OfTheBytes) {
  EXPECT_EQ(identity_of("").hash, 0x2d06800538d394c2u);  // as `xxhsum -H3` prints them
  EXPECT_EQ(identity_of("foobar").hash, 0xd78fda63144c5c84u);
  EXPECT_EQ(identity_of("foobar").bytes, 6u);
  EXPECT_NE(identity_of("ab"), identity_of("ba"));
}

RunSettings with(const std::string& schedule, std::int64_t steps, const std::string& clip) {
  RunSettings settings;
  settings.steps = steps;
  settings.rules = {{"--schedule", schedule}, {"--clip", clip}};
  return settings;
}

TEST(ChangedRules, NamesEachWithItsOldAndNewValue) {
  EXPECT_THAT(changed_rules(with("cosine", 5, "1"), with("cosine", 5, "1")), IsEmpty());
  EXPECT_THAT(
      changed_rules(with("cosine", 5, "1"), with("constant", 5, "0.5")),
      ElementsAre("resuming with a changed --schedule: cosine → constant", "resuming with a changed --clip: 1 → 0.5"));
}

TEST(ChangedRules, MoreStepsStretchAScheduleButNotAConstantOne) {
  EXPECT_THAT(changed_rules(with("cosine", 5, "1"), with("cosine", 9, "1")),
              ElementsAre(HasSubstr("9 updates instead of 5: the cosine schedule is stretched")));
  EXPECT_THAT(changed_rules(with("constant", 5, "1"), with("constant", 9, "1")), IsEmpty());
}

}  // namespace
}  // namespace accrue::train

#include "train/loss_curve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <cmath>
#include <optional>

#include "tests/train/files.h"

namespace accrue::train {
namespace {

using namespace accrue::testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

struct LossCurveTest : ::testing::Test {
  LossCurve read(std::string_view content) {
    write_file(folder / "metrics.jsonl", content);
    return read_loss_curve(folder / "metrics.jsonl");
  }
  TemporaryFolder folder;
};

TEST_F(LossCurveTest, ReadsBothLosses) {
  const LossCurve curve =
      read("{\"update\":1,\"loss\":3.5}\n{\"loss\":3.25,\"update\":2,\"validation_loss\":3.75,\"grad_norm\":1}\n");
  EXPECT_THAT(curve.train, ElementsAre(Pair(1, 3.5), Pair(2, 3.25)));
  EXPECT_THAT(curve.validation, ElementsAre(Pair(2, 3.75)));
}

TEST_F(LossCurveTest, ALastLineWithoutItsEndIsRead) { EXPECT_EQ(read("{\"update\":1,\"loss\":3.5}").train.size(), 1u); }

TEST_F(LossCurveTest, LossesThatAreNotFiniteAreNan) {
  const LossCurve curve = read("{\"update\":1,\"loss\":\"NaN\"}\n{\"update\":2,\"loss\":\"Infinity\"}\n");
  EXPECT_TRUE(std::isnan(curve.train[0].second));
  EXPECT_TRUE(std::isnan(curve.train[1].second));
}

TEST_F(LossCurveTest, AMissingFileIsNoInput) {
  error_of(ErrorKind::no_input, [&] { read_loss_curve(folder / "none"); });
}

TEST_F(LossCurveTest, TheFirstWrongLineIsNamed) {
  for (const char* line : {"x", "[]", "{}", "{\"update\":1}", "{\"loss\":1}", "{\"update\":\"1\",\"loss\":1}", ""}) {
    const std::string content = std::string("{\"update\":1,\"loss\":1}\n") + line + "\n{\"update\":3,\"loss\":1}\n";
    EXPECT_THAT(error_of(ErrorKind::bad_data, [&] { read(content); }), HasSubstr("metrics.jsonl:2:")) << line;
  }
}

TEST_F(LossCurveTest, DrawsBothCurves) {
  const LossCurve curve = read("{\"update\":1,\"loss\":3}\n{\"update\":2,\"loss\":1,\"validation_loss\":2}\n");
  const std::string text = draw_loss_curve(curve, false);
  EXPECT_THAT(text, HasSubstr("loss   ... train   o validation"));
  EXPECT_THAT(text, HasSubstr("2 updates"));
  EXPECT_NE(draw_loss_curve(curve, true), text);
}

// Sets a variable of the environment until the test ends.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = getenv(name)) old_ = old;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Environment() { old_ ? setenv(name_, old_->c_str(), 1) : unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(Locale, TheFirstVariableThatIsSetDecides) {
  const auto utf8 = [](const char* all, const char* type, const char* lang) {
    const Environment one("LC_ALL", all), two("LC_CTYPE", type), three("LANG", lang);
    return locale_is_utf8();
  };
  EXPECT_TRUE(utf8(nullptr, nullptr, "en_US.UTF-8"));
  EXPECT_TRUE(utf8(nullptr, nullptr, "en_US.utf8"));
  EXPECT_TRUE(utf8("", "", "C.UTF-8"));
  EXPECT_FALSE(utf8("C", nullptr, "en_US.UTF-8"));
  EXPECT_FALSE(utf8(nullptr, "POSIX", "en_US.UTF-8"));
  EXPECT_FALSE(utf8(nullptr, nullptr, nullptr));
}

}  // namespace
}  // namespace accrue::train

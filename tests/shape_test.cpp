#include "core/shape.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/check.h"
#include "testing/compare.h"

namespace accrue::shape_test {
namespace {

using testing::error_message;

TEST(Shape, WithoutAxesIsAScalarOfOneElement) {
  const Shape scalar;
  EXPECT_EQ(scalar.rank(), 0);
  EXPECT_EQ(scalar.numel(), 1);
  EXPECT_EQ(scalar.to_string(), "[]");
  EXPECT_EQ(scalar, Shape{});
}

TEST(Shape, KnowsItsExtentsFromBothEnds) {
  const Shape shape{2, 3, 5};
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.numel(), 30);
  EXPECT_EQ(shape[0], 2);
  EXPECT_EQ(shape[2], 5);
  EXPECT_EQ(shape[-1], 5);
  EXPECT_EQ(shape[-3], 2);
  EXPECT_EQ(shape.last(), 5);
  EXPECT_EQ(shape.rows(), 6);
}

TEST(Shape, KeepsItsRowsWhenTheLastExtentIsZero) {
  EXPECT_EQ((Shape{4, 0}.rows()), 4);
  EXPECT_EQ((Shape{4, 0}.numel()), 0);
  EXPECT_EQ((Shape{0, 4}.rows()), 0);
  EXPECT_EQ(Shape{7}.rows(), 1);
}

TEST(Shape, ReplacesTheLastExtent) {
  EXPECT_EQ((Shape{2, 3}.with_last(7)), (Shape{2, 7}));
  EXPECT_EQ(Shape{3}.with_last(0), Shape{0});
}

TEST(Shape, IsEqualOnlyWithTheSameAxes) {
  EXPECT_EQ((Shape{2, 3}), (Shape{2, 3}));
  EXPECT_NE((Shape{2, 3}), (Shape{3, 2}));
  EXPECT_NE((Shape{6}), (Shape{6, 1}));
  EXPECT_NE((Shape{1}), Shape{});
}

TEST(Shape, PrintsItself) {
  EXPECT_EQ((Shape{8, 768}).to_string(), "[8, 768]");
  EXPECT_EQ(fmt::format("{}", Shape{1}), "[1]");
}

TEST(Shape, TakesExtentsThatAreKnownAtRunTime) {
  const std::vector<std::int64_t> extents = {4, 5};
  EXPECT_EQ(Shape(std::span<const std::int64_t>(extents)), (Shape{4, 5}));
}

TEST(Shape, TakesSixAxesAndRefusesSeven) {
  EXPECT_EQ((Shape{1, 2, 1, 2, 1, 2}).numel(), 8);
  EXPECT_EQ(error_message([] { Shape{1, 2, 3, 4, 5, 6, 7}; }), "Shape: at most 6 axes, but got 7");
}

TEST(Shape, RefusesNegativeExtents) {
  EXPECT_EQ(error_message([] { Shape{2, -1}; }), "Shape: extents must not be negative, but got [2, -1]");
}

TEST(Shape, RefusesMoreElementsThanCanBeCounted) {
  EXPECT_EQ((Shape{std::int64_t{1} << 31, std::int64_t{1} << 31}).numel(), std::int64_t{1} << 62);
  EXPECT_EQ(error_message([] {
              Shape{std::int64_t{1} << 32, std::int64_t{1} << 31};
            }),
            "Shape: the number of elements of [4294967296, 2147483648] does not fit 63 bits");
}

TEST(Shape, NamesTheAxisThatDoesNotExist) {
  const Shape shape{2, 3};
  EXPECT_EQ(error_message([&] { (void)shape[2]; }), "Shape: axis 2 does not exist in [2, 3]");
  EXPECT_EQ(error_message([&] { (void)shape[-3]; }), "Shape: axis -3 does not exist in [2, 3]");
}

TEST(Shape, OfAScalarHasNeitherRowsNorALastAxis) {
  EXPECT_EQ(error_message([] { (void)Shape().rows(); }), "Shape: a scalar has no rows");
  EXPECT_EQ(error_message([] { (void)Shape().last(); }), "Shape: axis -1 does not exist in []");
  EXPECT_EQ(error_message([] { (void)Shape().with_last(1); }), "Shape: a scalar has no last axis to replace");
}

}  // namespace
}  // namespace accrue::shape_test

#include "kernels/embedding.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cmath>
#include <random>

#include "tests/testing/compare.h"
#include "tests/testing/gradcheck.h"
#include "tests/testing/sweep.h"
#include "tests/testing/thread_counts.h"

namespace accrue::kernels::embedding_test {
namespace {

using testing::error_message;
using testing::random_tensor;
using testing::tensor_of;
using testing::to_doubles;
using Doubles = std::vector<double>;

constexpr double u = 0x1p-24;
const float nan = std::numeric_limits<float>::quiet_NaN();

Tensor ids_of(const std::vector<std::int32_t>& ids, const Shape& shape, Device device = Device::cpu()) {
  return Tensor::from<std::int32_t>(ids, shape, device);
}

// Few distinct ids, as a text has: most rows of a large table are named by none, some by many.
Tensor skewed_ids(const Shape& shape, std::int64_t vocabulary, std::uint64_t seed, Device device) {
  std::mt19937_64 generator(seed);
  std::geometric_distribution<std::int64_t> distribution(0.2);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(shape.numel()));
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>((distribution(generator) * 7 + 3) % vocabulary);
  return ids_of(ids, shape, device);
}

Tensor nans(const Shape& shape, Device device, DType dtype = DType::f32) {
  return tensor_of(std::vector<float>(static_cast<std::size_t>(shape.numel()), nan), shape, dtype, device);
}

struct Sums {
  Doubles value, bound;
};

// Row row_of(i) of the result is the sum of the rows i of dy; n additions err by at most n u sum|dy| (Higham,
// section 4.2).
template <class RowOf>
Sums scattered(const Tensor& dy, std::int64_t rows, RowOf row_of) {
  const std::int64_t cols = dy.shape().last();
  const Doubles d = to_doubles(dy);
  Sums sums{Doubles(static_cast<std::size_t>(rows * cols)), Doubles(static_cast<std::size_t>(rows * cols))};
  std::vector<double> count(static_cast<std::size_t>(rows));
  for (std::int64_t i = 0; i < dy.shape().rows(); ++i) ++count[static_cast<std::size_t>(row_of(i))];
  for (std::int64_t i = 0; i < dy.numel(); ++i) {
    const std::int64_t row = row_of(i / cols);
    const auto at = static_cast<std::size_t>(row * cols + i % cols), from = static_cast<std::size_t>(i);
    sums.value[at] += d[from];
    sums.bound[at] += count[static_cast<std::size_t>(row)] * u * std::abs(d[from]);
  }
  return sums;
}

struct Case {
  std::int64_t vocabulary, position_rows;
  Tensor ids, dy;
  Case(Device device, std::int64_t batch, std::int64_t length, std::int64_t cols, std::int64_t rows = 50,
       DType dtype = DType::f32)
      : vocabulary(rows),
        position_rows(length + 2),
        ids(skewed_ids({batch, length}, rows, 1, device)),
        dy(random_tensor({batch, length, cols}, 2, dtype, device)) {}
  Sums expected_table() const {
    const std::vector<std::int32_t> id = ids.to_vector<std::int32_t>();
    return scattered(dy, vocabulary, [&](std::int64_t i) { return std::int64_t{id[static_cast<std::size_t>(i)]}; });
  }
  Sums expected_positions() const {
    return scattered(dy, position_rows, [&](std::int64_t i) { return i % ids.shape().last(); });
  }
};

void expect_gradients(const Case& c) {
  const std::int64_t cols = c.dy.shape().last();
  const Tensor dtable = nans({c.vocabulary, cols}, c.dy.device()),
               dpositions = nans({c.position_rows, cols}, c.dy.device());
  embedding_backward(
      {.dtable = {dtable, Write::overwrite}, .dpositions = {dpositions, Write::overwrite}, .dy = c.dy, .ids = c.ids});
  const Sums table = c.expected_table(), positions = c.expected_positions();
  EXPECT_TRUE(testing::within(dtable, table.value, table.bound));
  EXPECT_TRUE(testing::within(dpositions, positions.value, positions.bound));
}

TEST(Embedding, ForwardGathersRowsAndAddsPositions) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t batch : testing::sweep_rows)
        for (const std::int64_t cols : testing::sweep_cols) {
          SCOPED_TRACE(fmt::format("{} x 5 x {} {} on {}", batch, cols, name_of(dtype), device.to_string()));
          const Tensor table = random_tensor({50, cols}, 1, dtype, device),
                       positions = random_tensor({6, cols}, 2, dtype, device);
          const Tensor ids = skewed_ids({batch, 5}, 50, 3, device), y = nans({batch, 5, cols}, device, dtype);
          const Doubles rows = to_doubles(table), offsets = to_doubles(positions);
          const std::vector<std::int32_t> id = ids.to_vector<std::int32_t>();
          Doubles gathered, moved, bounds;
          for (std::size_t i = 0; i < id.size(); ++i)
            for (std::int64_t c = 0; c < cols; ++c) {
              gathered.push_back(rows[static_cast<std::size_t>(id[i] * cols + c)]);
              moved.push_back(gathered.back() +
                              offsets[i % 5 * static_cast<std::size_t>(cols) + static_cast<std::size_t>(c)]);
              bounds.push_back(u * std::abs(moved.back()));
            }
          embedding_forward({.y = y, .ids = ids, .table = table});
          EXPECT_TRUE(testing::within(y, gathered, testing::Bound{}));
          embedding_forward({.y = y, .ids = ids, .table = table, .positions = positions});
          EXPECT_TRUE(testing::within(y, moved, testing::rounded_once(bounds, moved, dtype)));
        }
}

TEST(Embedding, BackwardSumsTheRowsThatNameEachEntry) {
  for (const Device device : testing::devices()) {
    for (const DType dtype : testing::activation_dtypes(device))
      for (const std::int64_t batch : testing::sweep_rows)
        for (const std::int64_t cols : testing::sweep_cols) {
          SCOPED_TRACE(fmt::format("{} x 5 x {} {} on {}", batch, cols, name_of(dtype), device.to_string()));
          expect_gradients(Case(device, batch, 5, cols, 20, dtype));
        }
    SCOPED_TRACE(device.to_string());
    expect_gradients(Case(device, 4, 200, 128));
    expect_gradients(Case(device, 4, 200, 128, 1));  // one row has all ids
    expect_gradients(Case(device, 3, 100, 65, 2011));
    expect_gradients(Case(device, 3, 0, 65));
  }
}

// More ids than a tile of the sort, and ids of more than one and two of its digits.
TEST(Embedding, BackwardFindsTheUsesOfEachRowOfATableOfAnySize) {
  for (const Device device : testing::devices())
    for (const std::int64_t rows : {1, 256, 257, 65536, 65537}) {
      SCOPED_TRACE(fmt::format("{} rows on {}", rows, device.to_string()));
      constexpr std::int64_t n = 2500;
      std::mt19937_64 generator(7);
      std::vector<std::int32_t> ids(n);
      for (std::int32_t& id : ids) id = static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(rows));
      ids[5] = ids[n - 1] = static_cast<std::int32_t>(rows) - 1;
      // Integers: every sum is exact, and tells which places were summed.
      std::vector<float> values(n);
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
      Doubles expected(static_cast<std::size_t>(rows));
      for (std::size_t i = 0; i < values.size(); ++i) expected[static_cast<std::size_t>(ids[i])] += values[i];
      const Tensor dtable = nans({rows, 1}, device);
      embedding_backward({.dtable = {dtable, Write::overwrite},
                          .dy = tensor_of(values, {n, 1}, DType::f32, device),
                          .ids = ids_of(ids, {n}, device)});
      EXPECT_TRUE(testing::within(dtable, expected, testing::Bound{}));
    }
}

TEST(Embedding, TakesViewsThatBeginAtAnyElement) {
  for (const Device device : testing::devices())
    for (const DType dtype : testing::activation_dtypes(device)) {
      SCOPED_TRACE(fmt::format("{} on {}", name_of(dtype), device.to_string()));
      constexpr std::int64_t cols = 40;
      const Case whole(device, 3, 5, cols, 50, dtype);
      Case moved = whole;
      const Tensor ids = Tensor::zeros({16}, DType::i32, device), dy = nans({15 * cols + 1}, device, dtype);
      moved.ids = ids.view({3, 5}, 1), moved.dy = dy.view({3, 5, cols}, 1);
      moved.ids.copy_from(whole.ids), moved.dy.copy_from(whole.dy);
      expect_gradients(moved);
      const Tensor table = random_tensor({50 * cols + 1}, 1, dtype, device).view({50, cols}, 1);
      const Tensor buffer = nans({15 * cols + 2}, device, dtype), y = buffer.view({3, 5, cols}, 1);
      embedding_forward({.y = y, .ids = moved.ids, .table = table});
      const Doubles rows = to_doubles(table);
      Doubles gathered;
      for (const std::int32_t id : moved.ids.to_vector<std::int32_t>())
        gathered.insert(gathered.end(), rows.begin() + id * cols, rows.begin() + (id + 1) * cols);
      EXPECT_TRUE(testing::within(y, gathered, testing::Bound{}));
      EXPECT_TRUE(std::isnan(to_doubles(buffer).front()) && std::isnan(to_doubles(buffer).back()));
    }
}

TEST(Embedding, BackwardSumsTheRowsThatNameEachEntryForRandomShapes) {
  for (const Device device : testing::devices()) {
    const bool ok = rc::check("embedding", [device] {
      const auto batch = *rc::gen::inRange<std::int64_t>(0, device.kind == DeviceKind::cpu ? 6 : 3);
      const auto length = *rc::gen::inRange<std::int64_t>(1, 40);
      const auto cols = *rc::gen::inRange<std::int64_t>(1, 200);
      const auto rows = *rc::gen::inRange<std::int64_t>(1, 100);
      expect_gradients(Case(device, batch, length, cols, rows));
      RC_ASSERT(!::testing::Test::HasFailure());
    });
    EXPECT_TRUE(ok);
  }
}

TEST(Embedding, BackwardMatchesFiniteDifferences) {
  for (const Device device : testing::devices()) {
    constexpr std::int64_t vocabulary = 4, length = 3, cols = 5;
    const Tensor ids = ids_of({1, 3, 1, 1, 0, 3}, {2, length}, device);
    const Tensor table = random_tensor({vocabulary, cols}, 1, DType::f32, device),
                 positions = random_tensor({length, cols}, 2, DType::f32, device);
    const Tensor dy = random_tensor({2, length, cols}, 3, DType::f32, device);
    const Doubles d = to_doubles(dy);
    const std::vector<std::int32_t> id = ids.to_vector<std::int32_t>();
    const auto loss = [&](const Doubles& rows, const Doubles& offsets) {
      double total = 0;
      for (std::size_t i = 0; i < d.size(); ++i) {
        const std::size_t token = i / cols, c = i % cols;
        total += d[i] * (rows[static_cast<std::size_t>(id[token]) * cols + c] + offsets[token % length * cols + c]);
      }
      return total;
    };
    const Tensor dtable = nans({vocabulary, cols}, device), dpositions = nans({length, cols}, device);
    embedding_backward(
        {.dtable = {dtable, Write::overwrite}, .dpositions = {dpositions, Write::overwrite}, .dy = dy, .ids = ids});
    // At most 3 terms below 4: 3 * 12 u; the differences of a linear function are good to 1e-9.
    const testing::Bound bound{.absolute = 36 * u + 1e-9};
    const Doubles rows = to_doubles(table), offsets = to_doubles(positions);
    EXPECT_TRUE(testing::within(
        dtable, testing::numeric_gradient([&](const Doubles& v) { return loss(v, offsets); }, rows), bound));
    EXPECT_TRUE(testing::within(
        dpositions, testing::numeric_gradient([&](const Doubles& v) { return loss(rows, v); }, offsets), bound));
  }
}

TEST(Embedding, BackwardTwiceIsExactlyTwice) {
  for (const Device device : testing::devices()) {
    const Case c(device, 4, 33, 70);
    const Tensor dtable = nans({c.vocabulary, 70}, device), dpositions = nans({c.position_rows, 70}, device);
    const auto backward = [&](Write write) {
      embedding_backward({.dtable = {dtable, write}, .dpositions = {dpositions, write}, .dy = c.dy, .ids = c.ids});
    };
    backward(Write::overwrite);
    Doubles table = to_doubles(dtable), positions = to_doubles(dpositions);
    for (double& value : table) value *= 2;
    for (double& value : positions) value *= 2;
    backward(Write::accumulate);
    EXPECT_TRUE(testing::within(dtable, table, testing::Bound{}));
    EXPECT_TRUE(testing::within(dpositions, positions, testing::Bound{}));
  }
}

TEST(Embedding, AccumulatingLeavesUnnamedRowsUntouched) {
  for (const Device device : testing::devices()) {
    const Tensor dtable = nans({4, 3}, device), dy = random_tensor({1, 2, 3}, 1, DType::f32, device),
                 ids = ids_of({2, 2}, {1, 2}, device);
    embedding_backward({.dtable = {dtable, Write::accumulate}, .dy = dy, .ids = ids});
    EXPECT_TRUE(std::isnan(dtable.to_vector<float>()[0]));  // nobody wrote zeros there
  }
}

TEST(Embedding, EitherGradientMayBeUnwanted) {
  for (const Device device : testing::devices()) {
    const Case c(device, 2, 7, 33);
    const Tensor dtable = nans({c.vocabulary, 33}, device), dpositions = nans({c.position_rows, 33}, device);
    embedding_backward({.dtable = {dtable, Write::overwrite}, .dy = c.dy, .ids = c.ids});
    embedding_backward({.dpositions = {dpositions, Write::overwrite}, .dy = c.dy, .ids = c.ids});
    EXPECT_TRUE(testing::within(dtable, c.expected_table().value, c.expected_table().bound));
    EXPECT_TRUE(testing::within(dpositions, c.expected_positions().value, c.expected_positions().bound));
  }
}

TEST(Embedding, HasTheSameBitsForAnyNumberOfThreads) {
  const Case c(Device::cpu(), 8, 150, 200);
  const Tensor table = random_tensor({c.vocabulary, 200}, 3), positions = random_tensor({c.position_rows, 200}, 4);
  testing::expect_same_bits_for_any_thread_count([&] {
    const Tensor y = empty_like(c.dy), dtable = empty_like(table), dpositions = empty_like(positions);
    embedding_forward({.y = y, .ids = c.ids, .table = table, .positions = positions});
    embedding_backward(
        {.dtable = {dtable, Write::overwrite}, .dpositions = {dpositions, Write::overwrite}, .dy = c.dy, .ids = c.ids});
    return std::vector{y, dtable, dpositions};
  });
}

TEST(Embedding, TwoRunsGiveTheSameBits) {
  for (const Device device : testing::devices()) {
    const Case c(device, 4, 150, 33);
    const auto run = [&] {
      const Tensor dtable = nans({c.vocabulary, 33}, device), dpositions = nans({c.position_rows, 33}, device);
      embedding_backward({.dtable = {dtable, Write::overwrite},
                          .dpositions = {dpositions, Write::overwrite},
                          .dy = c.dy,
                          .ids = c.ids});
      return std::pair(dtable.to_vector<float>(), dpositions.to_vector<float>());
    };
    EXPECT_EQ(run(), run()) << device.to_string();
  }
}

// A GPU's kernels report it to the next call that waits for them.
TEST(Embedding, AnIdOutsideTheTableIsBadDataAndNamesItsPlace) {
  for (const Device device : testing::devices()) {
    SCOPED_TRACE(device.to_string());
    const Tensor table = Tensor::zeros({10, 4}, DType::f32, device), y = Tensor::zeros({2, 3, 4}, DType::f32, device);
    const Tensor above = ids_of({0, 1, 2, 3, 4, 10}, {2, 3}, device),
                 below = ids_of({0, -1, 2, 3, 4, 5}, {2, 3}, device);
    const GradSlot dtable{table, Write::overwrite};
    const auto message = [&](auto operation) {
      return error_message(
          [&] {
            operation();
            y.to_vector<float>();
          },
          ErrorKind::bad_data);
    };
    EXPECT_EQ(message([&] { embedding_forward({.y = y, .ids = above, .table = table}); }),
              "embedding_forward: ids must be in [0, 10), the rows of the table, but ids[1, 2] is 10");
    EXPECT_EQ(message([&] { embedding_forward({.y = y, .ids = below, .table = table}); }),
              "embedding_forward: ids must be in [0, 10), the rows of the table, but ids[0, 1] is -1");
    EXPECT_EQ(message([&] { embedding_backward({.dtable = dtable, .dy = y, .ids = above}); }),
              "embedding_backward: ids must be in [0, 10), the rows of the table, but ids[1, 2] is 10");
    y.to_vector<float>();  // reported once
  }
}

TEST(Embedding, OtherIdsGetTheirResultsBesideABadOneOnADevice) {
  for (const Device device : testing::devices()) {
    if (device.kind == DeviceKind::cpu) continue;  // throws before it writes anything
    const Tensor table = random_tensor({4, 3}, 1, DType::f32, device), y = Tensor::zeros({3, 3}, DType::f32, device);
    const Tensor ids = ids_of({2, 1 << 30, 2}, {3}, device), dtable = nans({4, 3}, device);
    error_message(
        [&] {
          embedding_forward({.y = y, .ids = ids, .table = table});
          y.to_vector<float>();
        },
        ErrorKind::bad_data);
    const Doubles rows = to_doubles(table);
    EXPECT_EQ(to_doubles(y), (Doubles{rows[6], rows[7], rows[8], 0, 0, 0, rows[6], rows[7], rows[8]}));
    const Tensor dy = tensor_of({1, 2, 3, 10, 20, 30, 100, 200, 300}, {3, 3}, DType::f32, device);
    error_message(
        [&] {
          embedding_backward({.dtable = {dtable, Write::overwrite}, .dy = dy, .ids = ids});
          y.to_vector<float>();
        },
        ErrorKind::bad_data);
    EXPECT_EQ(to_doubles(dtable), (Doubles{0, 0, 0, 0, 0, 0, 101, 202, 303, 0, 0, 0}));
  }
}

TEST(Embedding, ForwardNamesTheOperandThatDoesNotFit) {
  const Tensor table = Tensor::zeros({10, 4}), positions = Tensor::zeros({3, 4}), y = Tensor::zeros({2, 3, 4});
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), floats = Tensor::zeros({2, 3}), flat = Tensor::zeros({40});
  const Tensor few = Tensor::zeros({2, 4}), narrow = Tensor::zeros({3, 5}), scalar = Tensor::zeros({}, DType::i32);
  const Tensor half_table = Tensor::zeros({10, 4}, DType::bf16), half_y = Tensor::zeros({2, 3, 4}, DType::bf16);
  const Tensor half_positions = Tensor::zeros({3, 4}, DType::bf16), bytes = Tensor::zeros({10, 4}, DType::u8);
  const EmbeddingForward good{.y = y, .ids = ids, .table = table, .positions = positions};
  const auto message = [&](auto change) {
    return error_message([&] {
      EmbeddingForward op = good;
      change(op);
      embedding_forward(op);
    });
  };
  EXPECT_EQ(message([&](auto& op) { op.table = {}; }), "embedding_forward: table must be given");
  EXPECT_EQ(message([&](auto& op) { op.ids = floats; }), "embedding_forward: ids must be i32, but is f32");
  EXPECT_EQ(message([&](auto& op) { op.ids = scalar; }),
            "embedding_forward: ids must have 1 to 5 axes, but has shape []");
  EXPECT_EQ(message([&](auto& op) { op.table = flat; }),
            "embedding_forward: table must have 2 axes, but has shape [40]");
  EXPECT_EQ(message([&](auto& op) { op.table = bytes; }),
            "embedding_forward: table must be f32, f16 or bf16, but is u8");
  EXPECT_EQ(message([&](auto& op) { op.y = flat; }),
            "embedding_forward: y must have shape [2, 3, 4] to match ids [2, 3] and table [10, 4], but has [40]");
  EXPECT_EQ(message([&](auto& op) { op.y = half_y; }), "embedding_forward: y must be f32, but is bf16");
  EXPECT_EQ(
      message([&](auto& op) { op.positions = few; }),
      "embedding_forward: positions must have shape [at least 3, 4] to match ids [2, 3] and table [10, 4], but has "
      "[2, 4]");
  EXPECT_EQ(
      message([&](auto& op) { op.positions = narrow; }),
      "embedding_forward: positions must have shape [at least 3, 4] to match ids [2, 3] and table [10, 4], but has "
      "[3, 5]");
  EXPECT_EQ(message([&](auto& op) { op.positions = half_positions; }),
            "embedding_forward: positions must be f32, but is bf16");
  EXPECT_EQ(message([&](auto& op) { op.table = half_table, op.y = half_y, op.positions = half_positions; }),
            "embedding_forward: the CPU backend computes in f32, but table is bf16");
}

TEST(Embedding, BackwardNamesTheOperandThatDoesNotFit) {
  const Tensor table = Tensor::zeros({10, 4}), positions = Tensor::zeros({3, 4}), dy = Tensor::zeros({2, 3, 4});
  const Tensor ids = Tensor::zeros({2, 3}, DType::i32), floats = Tensor::zeros({2, 3}), narrow = Tensor::zeros({10, 5});
  const Tensor few = Tensor::zeros({2, 4}), half = Tensor::zeros({10, 4}, DType::f16),
               ids_dy = Tensor::zeros({2, 3, 4}, DType::i32);
  const Tensor half_dy = Tensor::zeros({2, 3, 4}, DType::f16), flat = Tensor::zeros({6, 4}),
               other = Tensor::zeros({3, 2, 4});
  const GradSlot dtable{table, Write::overwrite}, dpositions{positions, Write::overwrite};
  const EmbeddingBackward good{.dtable = dtable, .dpositions = dpositions, .dy = dy, .ids = ids};
  const auto message = [&](auto change) {
    return error_message([&] {
      EmbeddingBackward op = good;
      change(op);
      embedding_backward(op);
    });
  };
  EXPECT_EQ(message([&](auto& op) { op.dy = {}; }), "embedding_backward: dy must be given");
  EXPECT_EQ(message([&](auto& op) { op.ids = floats; }), "embedding_backward: ids must be i32, but is f32");
  EXPECT_EQ(message([&](auto& op) { op.dy = flat; }),
            "embedding_backward: dy must have the axes of ids [2, 3] and one more, but has [6, 4]");
  EXPECT_EQ(message([&](auto& op) { op.dy = other; }),
            "embedding_backward: dy must have shape [2, 3, 4] to match ids [2, 3], but has [3, 2, 4]");
  EXPECT_EQ(message([&](auto& op) { op.dy = ids_dy; }), "embedding_backward: dy must be f32, f16 or bf16, but is i32");
  EXPECT_EQ(message([&](auto& op) { op.dtable.tensor = narrow; }),
            "embedding_backward: dtable must have shape [V, 4] to match dy [2, 3, 4], but has [10, 5]");
  EXPECT_EQ(message([&](auto& op) { op.dtable.tensor = half; }), "embedding_backward: dtable must be f32, but is f16");
  EXPECT_EQ(message([&](auto& op) { op.dpositions.tensor = few; }),
            "embedding_backward: dpositions must have shape [at least 3, 4] to match dy [2, 3, 4], but has [2, 4]");
  EXPECT_EQ(message([&](auto& op) { op.dpositions.tensor = half; }),
            "embedding_backward: dpositions must be f32, but is f16");
  EXPECT_EQ(message([&](auto& op) {
              op.dpositions.tensor = table.view({3, 4});
            }),
            "embedding_backward: dtable must not share memory with dpositions, but does");
  EXPECT_EQ(message([&](auto& op) {
              op.dtable = {}, op.dpositions.tensor = dy.view({3, 4}, 12);
            }),
            "embedding_backward: dpositions must not share memory with dy, but does");
  EXPECT_EQ(message([&](auto& op) {
              op.dtable.tensor = dy.view({2, 4});
            }),
            "embedding_backward: dtable must not share memory with dy, but does");
  EXPECT_EQ(message([&](auto& op) { op.dy = half_dy; }),
            "embedding_backward: the CPU backend computes in f32, but dy is f16");
}

}  // namespace
}  // namespace accrue::kernels::embedding_test

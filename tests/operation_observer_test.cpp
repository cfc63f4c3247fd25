// Whoever observes is told of every call, on every device.
#include "kernels/operation_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/add.h"
#include "kernels/embedding.h"
#include "kernels/linear.h"
#include "tests/testing/compare.h"
#include "tests/testing/sweep.h"

namespace accrue::kernels::operation_observer_test {
namespace {

using testing::devices;
using ::testing::ElementsAre;

// What it was told, in order: "(add 12" for a beginning with its bytes, ")" for an end.
class Listener final : public OperationObserver {
 public:
  Listener() { set_operation_observer(this); }
  ~Listener() override { set_operation_observer(nullptr); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  void begin(const char* name, const OperationCost& cost) override {
    heard.push_back(fmt::format("({} {}", name, cost.bytes));
  }
  void end() noexcept override { heard.emplace_back(")"); }

  std::vector<std::string> heard;
};

Tensor zeros(const Shape& shape, Device device) { return Tensor::zeros(shape, DType::f32, device); }

TEST(OperationObserver, IsToldOfTheBeginningAndTheEndOfACall) {
  for (const Device device : devices()) {
    const Tensor x = zeros({3}, device);
    Listener listener;
    add({.out = x, .a = x, .b = x});
    EXPECT_THAT(listener.heard, ElementsAre("(add 36", ")"));
  }
}

TEST(OperationObserver, IsToldOfTheEndWhereACallThrows) {
  const Tensor ids = Tensor::from<std::int32_t>(std::vector<std::int32_t>{9}, {1});
  Listener listener;
  EXPECT_THROW(
      embedding_forward({.y = zeros({1, 2}, Device::cpu()), .ids = ids, .table = zeros({4, 2}, Device::cpu())}), Error);
  EXPECT_THAT(listener.heard, ElementsAre("(embedding_forward 20", ")"));
}

TEST(OperationObserver, HearsThePartsOfAnOperationInsideIt) {
  for (const Device device : devices()) {
    Listener listener;
    linear_gelu({.y = zeros({2, 5}, device),
                 .z = zeros({2, 5}, device),
                 .x = zeros({2, 3}, device),
                 .weight = zeros({3, 5}, device)});
    EXPECT_THAT(listener.heard,
                ElementsAre("(linear_gelu 164", "(matmul 124", ")", "(activation_forward 80", ")", ")"));
  }
}

TEST(OperationObserver, IsToldNothingOfACallThatItsChecksRefuse) {
  Listener listener;
  EXPECT_THROW(add({.out = zeros({3}, Device::cpu()), .a = zeros({3}, Device::cpu()), .b = zeros({4}, Device::cpu())}),
               Error);
  EXPECT_THAT(listener.heard, ElementsAre());
}

}  // namespace
}  // namespace accrue::kernels::operation_observer_test

// Gradient accumulation with Accrue: 20 micro-batches of 8 x 20 random tokens, 4 to an update.
#include <train/accrue.h>

#include <cstdio>
#include <random>

using namespace accrue;

Tensor random_tokens(std::mt19937& random) {
  std::vector<std::int32_t> tokens(8 * 20);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 1000);
  return Tensor::from<std::int32_t>(tokens, {8, 20});
}

int main() {
  nn::Sequential model(nn::Embedding(1000, 128), nn::Linear(128, 1000));
  ParameterStore parameters;
  nn::initialize(model, parameters, /*seed=*/1);

  optim::Adam adam(parameters);
  train::Accumulator accumulator(parameters, adam, {.accumulation = 4, .schedule = optim::constant_schedule(1e-3)});

  std::mt19937 random(1);
  for (int step = 0; step < 20; ++step) {
    const Tensor tokens = random_tokens(random), targets = random_tokens(random);
    Tape tape = accumulator.begin_micro_batch(8);
    const nn::Loss loss = nn::cross_entropy(tape, model.forward(tape, tokens), targets);
    if (const auto window = accumulator.accumulate(tape, loss))
      std::printf("update %ld: loss %.4f, gradient norm %.4f\n", window->update, window->loss, window->grad_norm);
  }
}

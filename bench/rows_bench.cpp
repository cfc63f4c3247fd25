// The operations that go over whole rows: layer normalisation, embedding, cross-entropy.
#include <algorithm>

#include "bench/bench.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/layernorm.h"
#include "kernels/residual_layernorm.h"

namespace accrue::bench {
namespace {

using namespace kernels;

struct LayerNormOperands {
  LayerNormOperands(const Model& m, const Variant& v)
      : x(filled(m.activations(), v)),
        dy(filled(m.activations(), v)),
        y(empty_like(x)),
        dx(empty_like(x)),
        gamma(filled({m.width}, v)),
        beta(filled({m.width}, v)),
        dgamma(Tensor::empty({m.width}, DType::f32, v.device)),
        dbeta(empty_like(dgamma)),
        mean(Tensor::empty({m.rows()}, DType::f32, v.device)),
        rstd(empty_like(mean)) {}

  void forward() const {
    layernorm_forward({.y = y, .mean = mean, .rstd = rstd, .x = x, .gamma = gamma, .beta = beta});
  }
  void backward() const {
    layernorm_backward({.dx = {dx, Write::overwrite},
                        .dgamma = {dgamma, Write::overwrite},
                        .dbeta = {dbeta, Write::overwrite},
                        .dy = dy,
                        .x = x,
                        .gamma = gamma,
                        .mean = mean,
                        .rstd = rstd});
  }

  Tensor x, dy, y, dx, gamma, beta, dgamma, dbeta, mean, rstd;
};

void add_layernorm() {
  add_for_models("layernorm/forward", [](const Model& m, const Variant& v) {
    const LayerNormOperands operands(m, v);
    const double n = m.elements(), rows = static_cast<double>(m.rows()), cols = static_cast<double>(m.width);
    return Work{[=] { operands.forward(); }, (2 * n + 2 * cols) * v.element_bytes() + 8 * rows, 8 * n};
  });
  add_for_models("layernorm/backward", [](const Model& m, const Variant& v) {
    const LayerNormOperands operands(m, v);
    operands.forward();
    const double n = m.elements(), rows = static_cast<double>(m.rows()), cols = static_cast<double>(m.width);
    return Work{[=] { operands.backward(); }, 3 * n * v.element_bytes() + 8 * rows + 12 * cols, 14 * n};
  });
}

void add_residual_layernorm() {
  add_for_models("residual_layernorm", [](const Model& m, const Variant& v) {
    const LayerNormOperands operands(m, v);
    const Tensor sum = empty_like(operands.x);
    const ResidualLayerNorm pass{.sum = sum,
                                 .y = operands.y,
                                 .mean = operands.mean,
                                 .rstd = operands.rstd,
                                 .x = operands.x,
                                 .residual = operands.dy,
                                 .gamma = operands.gamma,
                                 .beta = operands.beta};
    const double n = m.elements(), rows = static_cast<double>(m.rows()), cols = static_cast<double>(m.width);
    return Work{[=] { residual_layernorm(pass); }, (4 * n + 2 * cols) * v.element_bytes() + 8 * rows, 9 * n};
  });
}

// Rows of the table that are named at least once.
std::int64_t rows_named(const Tensor& ids) {
  std::vector<std::int32_t> named = ids.to_vector<std::int32_t>();
  std::sort(named.begin(), named.end());
  return std::unique(named.begin(), named.end()) - named.begin();
}

void add_embedding() {
  add_for_models("embedding/forward", [](const Model& m, const Variant& v) {
    const Tensor ids = random_ids(m.ids(), m.vocabulary, v.device), table = filled({m.vocabulary, m.width}, v);
    const Tensor positions = filled({m.tokens, m.width}, v), y = Tensor::empty(m.activations(), v.dtype, v.device);
    return Work{[=] { embedding_forward({.y = y, .ids = ids, .table = table, .positions = positions}); },
                2 * m.elements() * v.element_bytes() + 4 * static_cast<double>(m.rows())};
  });
  // Accumulating, as in all micro-batches but the first: reads and writes the rows that are named alone.
  add_for_models("embedding/backward", [](const Model& m, const Variant& v) {
    const Tensor ids = random_ids(m.ids(), m.vocabulary, v.device), dy = filled(m.activations(), v);
    const Tensor dtable = Tensor::zeros({m.vocabulary, m.width}, DType::f32, v.device);
    const Tensor dpositions = Tensor::zeros({m.tokens, m.width}, DType::f32, v.device);
    const auto touched = static_cast<double>((rows_named(ids) + m.tokens) * m.width);
    return Work{[=] {
                  embedding_backward({.dtable = {dtable, Write::accumulate},
                                      .dpositions = {dpositions, Write::accumulate},
                                      .dy = dy,
                                      .ids = ids});
                },
                m.elements() * v.element_bytes() + 8 * touched, 2 * m.elements()};
  });
}

// The gradient of one call is the logits of the next: as good as any for the time.
void add_cross_entropy(const std::string& name, LossGradient gradient) {
  add_for_models(name, [=](const Model& m, const Variant& v) {
    const Tensor logits = filled({m.batch, m.tokens, m.vocabulary}, v);
    const Tensor targets = random_ids(m.ids(), m.vocabulary, v.device), terms = empty_loss_terms(v.device);
    const double n = static_cast<double>(m.rows() * m.vocabulary), passes = gradient == LossGradient::none ? 1 : 2;
    return Work{[=] { cross_entropy({.terms = terms, .logits = logits, .targets = targets, .gradient = gradient}); },
                passes * n * v.element_bytes(), 6 * n};
  });
}

const Registration registration([] {
  add_layernorm();
  add_residual_layernorm();
  add_embedding();
  add_cross_entropy("cross_entropy/forward", LossGradient::none);
  add_cross_entropy("cross_entropy/gradient", LossGradient::in_place);
});

}  // namespace
}  // namespace accrue::bench

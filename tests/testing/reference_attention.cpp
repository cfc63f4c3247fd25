#include "tests/testing/reference_attention.h"

#include <algorithm>
#include <cmath>

#include "tests/testing/compare.h"

namespace accrue::testing::attention {
namespace {

constexpr double u = unit_roundoff(DType::f32);
constexpr double smallest = 0x1p-149;  // a result below 2^-126 may lose this much

double keep_factor(const Case& c, std::int64_t b, std::int64_t h, std::int64_t q, std::int64_t k) {
  if (c.dropout_p == 0) return 1;
  const std::int64_t element = (h * c.tokens + q) * ((c.tokens + 3) / 4 * 4) + k;
  const Philox4 words =
      sample_random(random_key, site, static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(element / 4));
  return uniform(words[static_cast<std::size_t>(element % 4)]) >= c.dropout_p
             ? 1 / (1 - static_cast<double>(c.dropout_p))
             : 0;
}

// One head's rows of the operands.
struct Head {
  const Case& c;
  const Doubles& qkv;
  const Doubles& dys;
  std::int64_t b, h;

  std::int64_t qkv_at(std::int64_t part, std::int64_t t) const {
    return (b * c.tokens + t) * 3 * c.channels() + part * c.channels() + h * c.head_size;
  }
  std::int64_t y_at(std::int64_t t) const { return (b * c.tokens + t) * c.channels() + h * c.head_size; }
  std::int64_t stats_at(std::int64_t t) const { return (b * c.heads + h) * c.tokens + t; }
  const double* q(std::int64_t t) const { return qkv.data() + qkv_at(0, t); }
  const double* k(std::int64_t t) const { return qkv.data() + qkv_at(1, t); }
  const double* v(std::int64_t t) const { return qkv.data() + qkv_at(2, t); }
  const double* dy(std::int64_t t) const { return dys.data() + y_at(t); }
};

struct Dot {
  double sum = 0, magnitude = 0;

  Dot(const double* a, const double* b, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) sum += a[i] * b[i], magnitude += std::abs(a[i] * b[i]);
  }
};

// The number of tiles in a sum of n terms.
double tiles(std::int64_t n) { return std::ceil(static_cast<double>(n) / 16); }

// How a target computes: in f32 throughout, but in a half dtype on tensor cores. There probabilities and dS are rounded
// to the half dtype before they are multiplied, exponentials are powers of two of scores times log2(e), and sums need
// not be rounded to nearest.
struct Arithmetic {
  bool half;
  double stored;       // relative error of one rounding to the dtype of the results
  double underflow;    // what a rounding to it may lose besides; where exponentials are approximate, they end at 2^-126
  double sum;          // relative error of an addition
  bool private_tiles;  // sums are made tile by tile

  explicit Arithmetic(const Target& on)
      : half(on.dtype != DType::f32),
        stored(half ? unit_roundoff(on.dtype) : 0),
        underflow(on.dtype == DType::f16 ? 0x1p-25
                  : half                 ? 0x1p-126
                                         : 0),
        sum(half ? 2 * u : u),
        private_tiles(on.device.kind == DeviceKind::cpu) {}

  // The roundings on the way of one term through a sum of n: in tiles of 16 to 256 terms, one after the other, or all
  // of the terms one after the other and what is once more rounded when a tile begins.
  double depth(std::int64_t n) const {
    return (private_tiles ? std::min(static_cast<double>(n), 256.0) : static_cast<double>(n)) + tiles(n);
  }
  // The bound of a value's error after the value was rounded to the dtype.
  double rounded(double value, double bound) const {
    return bound * (1 + stored) + stored * std::abs(value) + underflow;
  }
};

// One query: what the definition gives, and first-order bounds of a float kernel's errors. An error of an intermediate
// result reaches a final one by the derivative, whose magnitude is taken, so that errors which cancel (the same error
// in a softmax's numerator and denominator) count as little as they do.
class Query {
 public:
  Query(const Head& head, std::int64_t query) : head_(head), arithmetic_(head.c.on), query_(query), n_(query + 1) {
    forward();
    bound_forward();
  }

  // dS / scale and the bound of its error; also that of the dropped-out probabilities.
  void backward() {
    const double* dy = head_.dy(query_);
    const double D = static_cast<double>(head_.c.head_size);
    const auto n = static_cast<std::size_t>(n_);
    Doubles dp(n), dp_bound(n);
    for (std::size_t k = 0; k < n; ++k) {
      const Dot product(dy, head_.v(static_cast<std::int64_t>(k)), head_.c.head_size);
      dp[k] = keep[k] * product.sum;
      dp_bound[k] = keep[k] * (D * arithmetic_.sum * product.magnitude + dropout_rounding() * std::abs(product.sum));
    }
    double delta = 0;
    for (std::size_t k = 0; k < n; ++k) delta += p[k] * dp[k];
    // delta = sum dy y: what y was off, then a sum of D products.
    double delta_bound = D * u * Dot(dy, y.data(), head_.c.head_size).magnitude;
    for (std::size_t k = 0; k < n; ++k) delta_bound += p[k] * exponential_error_[k] * std::abs(dp[k] - delta);
    for (std::size_t d = 0; d < y.size(); ++d) delta_bound += std::abs(dy[d]) * y_rounding_[d];

    ds.resize(n), ds_bound.resize(n), dropped_bound.resize(n);
    for (std::size_t k = 0; k < n; ++k) {
      // e^(score - logsumexp).
      double relative = score_error_[k] + logsumexp_bound + u * std::abs(score_[k] - logsumexp) + 4 * u;
      // Of log2(e) * scale, and of log2(e) and its product with logsumexp.
      if (arithmetic_.half) relative += 2 * u * (std::abs(score_[k]) + std::abs(logsumexp));
      const double difference = dp[k] - delta;
      ds[k] = p[k] * difference;
      ds_bound[k] = (p[k] * relative + 2 * smallest) * std::abs(difference) +
                    p[k] * (dp_bound[k] + delta_bound + 2 * u * std::abs(difference)) + smallest;
      ds_bound[k] = arithmetic_.rounded(ds[k], ds_bound[k]);
      dropped_bound[k] = keep[k] * arithmetic_.rounded(p[k], p[k] * (relative + dropout_rounding()) + 3 * smallest);
    }
  }

  double logsumexp = 0, logsumexp_bound = 0;
  Doubles y, y_bound;     // [D]
  Doubles p, keep;        // [keys]: the probabilities, and what dropout multiplies them by
  Doubles ds, ds_bound;   // [keys], after backward()
  Doubles dropped_bound;  // [keys]: of p * keep, after backward()

 private:
  // 1 - p, the quotient and the product with it.
  double dropout_rounding() const { return head_.c.dropout_p > 0 ? 3 * u : 0; }

  void forward() {
    const Case& c = head_.c;
    const double D = static_cast<double>(c.head_size), grid = static_cast<double>(c.grid);
    for (std::int64_t k = 0; k < n_; ++k) {
      const Dot product(head_.q(query_), head_.k(k), c.head_size);
      // Sums of multiples of grid^2 have no error while they fit a float's significand. Others: a query that was
      // scaled, products rounded too where there is no FMA.
      const bool exact = c.grid > 0 && c.scale == 1 && product.magnitude <= 0x1p24 * grid * grid;
      score_.push_back(product.sum * static_cast<double>(c.scale));
      score_error_.push_back(
          exact ? 0 : (D + 1) * arithmetic_.sum * product.magnitude * std::abs(static_cast<double>(c.scale)));
      max_ = std::max(max_, score_.back());
      keep.push_back(keep_factor(c, head_.b, head_.h, query_, k));
    }
    for (const double score : score_) sum_ += p.emplace_back(std::exp(score - max_));
    logsumexp = max_ + std::log(sum_);
    y.assign(static_cast<std::size_t>(c.head_size), 0);
    for (std::size_t k = 0; k < p.size(); ++k) {
      p[k] /= sum_;
      const double* v = head_.v(static_cast<std::int64_t>(k));
      for (std::size_t d = 0; d < y.size(); ++d) y[d] += p[k] * keep[k] * v[d];
    }
  }

  void bound_forward() {
    // Relative errors of the exponentials: of the score; of score - maximum and of the differences of the maxima that
    // follow, together the distance to the last maximum; of exp (2 ulp, so 4u), of which every tile that follows brings
    // one more. Powers of two have a factor before the score that was rounded twice.
    const double of_distance = arithmetic_.half ? 3 * u : u;
    for (std::size_t k = 0; k < p.size(); ++k)
      exponential_error_.push_back(score_error_[k] + of_distance * (max_ - score_[k]) + 4 * u * (1 + tiles(n_)));
    // A tile that follows rounds once more when it rescales a sum.
    const double summation = (arithmetic_.depth(n_) + tiles(n_)) * arithmetic_.sum;
    // log is within 1 ulp, its sum with the maximum is rounded; powers of two also have their factor and ln(2).
    logsumexp_bound = summation + 2 * u * std::log(sum_) + u * std::abs(logsumexp);
    if (arithmetic_.half) logsumexp_bound += 2 * u * std::abs(logsumexp);
    Doubles magnitude(y.size()), probability_rounding(y.size());
    y_bound.assign(y.size(), 0);
    for (std::size_t k = 0; k < p.size(); ++k) {
      logsumexp_bound += p[k] * exponential_error_[k];
      if (arithmetic_.half) logsumexp_bound += p[k] * 2 * u * std::abs(score_[k]);
      const double* v = head_.v(static_cast<std::int64_t>(k));
      for (std::size_t d = 0; d < y.size(); ++d) {
        magnitude[d] += p[k] * keep[k] * std::abs(v[d]);
        // The exponential, as far as it is below 2^-126, and its rounding.
        probability_rounding[d] += (smallest + arithmetic_.rounded(p[k], 0)) * keep[k] * std::abs(v[d]);
        y_bound[d] += p[k] * exponential_error_[k] * std::abs(keep[k] * v[d] - y[d]);
      }
    }
    // Numerator and denominator are summed apart; the quotient is a reciprocal and a product.
    for (std::size_t d = 0; d < y.size(); ++d) {
      y_rounding_.push_back((summation + dropout_rounding()) * magnitude[d] + (summation + 2 * u) * std::abs(y[d]) +
                            static_cast<double>(n_) * smallest + probability_rounding[d]);
      const double before = y_bound[d] + y_rounding_[d];
      y_bound[d] = arithmetic_.rounded(y[d], before);
      y_rounding_[d] += y_bound[d] - before;
    }
  }

  Head head_;
  Arithmetic arithmetic_;
  std::int64_t query_, n_;
  double max_ = -std::numeric_limits<double>::infinity(), sum_ = 0;
  Doubles score_, score_error_, exponential_error_;  // [keys]
  Doubles y_rounding_;                               // the part of y_bound that is not the exponentials'
};

// Adds term[i] * factor to sum[i], its error and the roundings of the sum to bound[i].
void add_term(const double* term, std::int64_t n, double factor, double factor_error, double rounding, double* sum,
              double* bound) {
  const double error = factor_error + rounding * std::abs(factor);
  for (std::int64_t i = 0; i < n; ++i) sum[i] += factor * term[i], bound[i] += error * std::abs(term[i]) + smallest;
}

void add_gradients(const Head& head, std::int64_t q, const Query& query, const Pairs& pairs, Reference& r) {
  const Case& c = head.c;
  const double scale = static_cast<double>(c.scale);
  const auto add = [&](std::int64_t part, std::int64_t t, const double* term, double factor, double error,
                       double rounding) {
    const std::int64_t to = head.qkv_at(part, t);
    add_term(term, c.head_size, factor, error, rounding, r.dqkv.data() + to, r.dqkv_bound.data() + to);
  };
  for (std::int64_t k = pairs.first_key; k <= q && k < pairs.last_key; ++k) {
    const auto i = static_cast<std::size_t>(k);
    const double ds = scale * query.ds[i], error = std::abs(scale) * query.ds_bound[i];
    // Scale is rounded when it multiplies an operand or the sum; every result is a sum over the queries or the keys.
    const Arithmetic arithmetic(c.on);
    const double over_keys = (arithmetic.depth(q + 1) + 1) * arithmetic.sum;
    const double over_queries = (arithmetic.depth(c.tokens - k) + 1) * arithmetic.sum;
    add(0, q, head.k(k), ds, error, over_keys);
    add(1, k, head.q(q), ds, error, over_queries);
    add(2, k, head.dy(q), query.p[i] * query.keep[i], query.dropped_bound[i], over_queries);
  }
}

}  // namespace

Reference reference(const Case& c, const Doubles& qkv, const Doubles& dy, const Pairs& pairs) {
  Reference r;
  r.y.assign(static_cast<std::size_t>(c.y_shape().numel()), 0);
  r.logsumexp.assign(static_cast<std::size_t>(c.stats_shape().numel()), 0);
  r.dqkv.assign(qkv.size(), 0);
  r.y_bound = r.y, r.logsumexp_bound = r.logsumexp, r.dqkv_bound = r.dqkv;
  for (std::int64_t b = 0; b < c.batch; ++b)
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const Head head{c, qkv, dy, b, h};
      for (std::int64_t q = pairs.first_query; q < std::min(c.tokens, pairs.last_query); ++q) {
        Query query(head, q);
        query.backward();
        std::copy(query.y.begin(), query.y.end(), r.y.begin() + head.y_at(q));
        std::copy(query.y_bound.begin(), query.y_bound.end(), r.y_bound.begin() + head.y_at(q));
        r.logsumexp[static_cast<std::size_t>(head.stats_at(q))] = query.logsumexp;
        r.logsumexp_bound[static_cast<std::size_t>(head.stats_at(q))] = query.logsumexp_bound;
        add_gradients(head, q, query, pairs, r);
      }
    }
  for (std::size_t i = 0; i < r.dqkv.size(); ++i)
    r.dqkv_bound[i] = Arithmetic(c.on).rounded(r.dqkv[i], r.dqkv_bound[i]);
  return r;
}

QueryReference reference_of_query(const Case& c, const Doubles& qkv, std::int64_t query) {
  const Doubles no_dys;  // the forward pass reads none
  const Query q({c, qkv, no_dys, 0, 0}, query);
  return {q.y, q.y_bound, q.logsumexp, q.logsumexp_bound};
}

}  // namespace accrue::testing::attention

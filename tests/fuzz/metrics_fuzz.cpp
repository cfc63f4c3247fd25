// A metrics.jsonl: a point a line, and two drawings of them that a terminal can show.
#include <cmath>

#include "tests/fuzz/fuzz.h"
#include "train/loss_curve.h"

namespace accrue::fuzz {
namespace {

using train::LossCurve;

void require_points(const LossCurve& curve, Bytes text) {
  auto lines = std::count(text.begin(), text.end(), '\n');
  if (!text.empty() && text.back() != '\n') ++lines;
  require(std::ssize(curve.train) == lines, "another number of points than lines");
  require(curve.validation.size() <= curve.train.size(), "more validation losses than lines");
  for (const auto& [update, loss] : curve.train)
    require(std::isfinite(update) && !std::isinf(loss), "a point at infinity");
}

void require_drawing(const LossCurve& curve) {
  constexpr std::size_t largest_drawing = 16 << 10;
  for (const bool unicode : {false, true}) {
    const std::string drawing = train::draw_loss_curve(curve, unicode);
    require(!drawing.empty() && drawing.size() <= largest_drawing, "a drawing of no or too many characters");
    for (const char c : drawing) {
      const auto byte = static_cast<unsigned char>(c);
      require(byte == '\n' || (byte >= 0x20 && byte != 0x7f), "a drawing with control characters");
      require(unicode || byte < 0x80, "a plain drawing with other characters than ASCII");
    }
  }
}

}  // namespace
}  // namespace accrue::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  const Bytes text(data, size);
  const std::uint64_t limit =
      accrue::train::metrics_allocation_per_byte * size + accrue::train::metrics_allocation_constant;
  const auto curve = parsed(limit, [&] { return accrue::train::parse_loss_curve(text, "input"); });
  if (!curve) return 0;
  require_points(*curve, text);
  require_drawing(*curve);
  return 0;
}

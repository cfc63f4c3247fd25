// A text as tokens; its first bytes choose context, vocabulary and validation fraction.
#include <vector>

#include "tests/fuzz/fuzz.h"
#include "train/token_data.h"
#include "train/tokenizer.h"

namespace accrue::fuzz {
namespace {

using namespace accrue::train;

constexpr std::uint64_t text_allocation_limit = 4096;  // the text stays where it is

void require_samples(Bytes text, std::int64_t context) {
  const auto samples = parsed(text_allocation_limit, [&] { return TokenSamples(text, context, "input"); },
                              {ErrorKind::bad_data, ErrorKind::usage});
  if (!samples) return;
  require(samples->size() >= 1 && samples->size() == (std::ssize(text) - 1) / context, "another number of samples");
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(context)), targets(tokens.size());
  for (const std::int64_t sample : {std::int64_t{0}, samples->size() - 1}) {
    samples->copy(sample, tokens, targets);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const std::size_t at = static_cast<std::size_t>(sample * context) + i;
      require(tokens[i] == text[at] && targets[i] == text[at + 1], "tokens that are not the text's");
    }
  }
}

void require_file(Bytes text, std::int64_t vocabulary, double fraction) {
  const MemoryFile copy(text);
  const auto file = parsed(text_allocation_limit, [&] { return TokenFile(copy.path()); });
  require(file.has_value() == !text.empty(), "an empty text is accepted, or another is not");
  if (!file) return;
  const bool inside = std::all_of(text.begin(), text.end(), [&](std::uint8_t byte) { return byte < vocabulary; });
  const auto known = parsed(text_allocation_limit, [&] { return file->require_vocabulary(vocabulary), true; });
  require(known.has_value() == inside, "the vocabulary is misjudged");
  const auto parts = parsed(text_allocation_limit, [&] { return file->split(fraction); }, {ErrorKind::usage});
  require(parts.has_value() == (fraction >= 0 && fraction < 1), "the fraction is misjudged");
  require(!parts || (!parts->train.empty() && parts->train.size() + parts->validation.size() == text.size()),
          "a split that loses tokens");
}

void require_tokenizer(Bytes text) {
  const std::string original(text.begin(), text.end());
  const ByteTokenizer tokenizer;
  require(tokenizer.decode(tokenizer.encode(original)) == original, "a text that changes as tokens");
}

}  // namespace
}  // namespace accrue::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace accrue::fuzz;
  Bytes text(data, size);
  // Small contexts most of the time, for the others are beyond the text.
  const bool any_context = take<std::uint8_t>(text) % 8 == 0;
  const std::int64_t context = any_context ? take<std::int64_t>(text) : take<std::uint8_t>(text);
  const std::int64_t vocabulary = take<std::uint16_t>(text);
  const double fraction = any_context ? take<double>(text) : take<std::uint8_t>(text) / 250.0;
  require_samples(text, context);
  require_file(text, vocabulary, fraction);
  require_tokenizer(text);
  return 0;
}

#include "train/token_data.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace accrue::train {

TokenFile::TokenFile(const std::filesystem::path& path) : file_(path) {
  if (tokens().empty())
    fail(ErrorKind::bad_data, "{}: is empty; training needs a text with at least two bytes", name());
  identity_ = file_.read_intact([](auto bytes) { return DataIdentity().add(bytes); });
  remember_content(tokens(), identity_.hash);
}

TokenFile::Split TokenFile::split(double validation_fraction) const {
  // Negated, so that NaN is refused too.
  if (!(validation_fraction >= 0.0 && validation_fraction < 1.0))
    fail(ErrorKind::usage, "the validation fraction must be at least 0 and below 1, but is {}; 0.1 keeps a tenth",
         validation_fraction);
  const std::size_t size = tokens().size();
  const auto tail = static_cast<std::size_t>(std::floor(validation_fraction * static_cast<double>(size)));
  // A fraction just below 1 rounds up to the whole text in floating point.
  const std::size_t validation = std::min(tail, size - 1);
  return {.train = tokens().first(size - validation), .validation = tokens().last(validation)};
}

void TokenFile::require_vocabulary(std::int64_t vocabulary) const {
  const auto bytes = tokens();
  const auto bad = file_.read_intact(
      [&](auto all) { return std::find_if(all.begin(), all.end(), [&](auto byte) { return byte >= vocabulary; }); });
  if (bad == bytes.end()) return;
  fail(ErrorKind::bad_data,
       "{}: the byte {} (0x{:02x}) at offset {} is outside the model's vocabulary of {} tokens; a vocabulary of 256 "
       "covers every text",
       name(), *bad, *bad, bad - bytes.begin(), vocabulary);
}

TokenSamples::TokenSamples(std::span<const std::uint8_t> tokens, std::int64_t context, const std::string& name)
    : tokens_(tokens), context_(context), size_(0) {
  if (context < 1) fail(ErrorKind::usage, "--context must be at least 1, but is {}", context);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count <= context) {
    const std::string shorter = count >= 2 ? fmt::format("a context of at most {}", count - 1) : std::string();
    fail(ErrorKind::bad_data,
         "{}: has {} byte{}, but a sample of the context {} needs {} (one more, for the last target); use {}{}a longer "
         "text",
         name, count, count == 1 ? "" : "s", context, static_cast<std::uint64_t>(context) + 1, shorter,
         shorter.empty() ? "" : " or ");
  }
  size_ = (count - 1) / context;
}

void TokenSamples::copy(std::int64_t index, std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const {
  check(index >= 0 && index < size_, "TokenSamples::copy: sample {} does not exist; there are {}", index, size_);
  const auto length = static_cast<std::size_t>(context_);
  check(tokens.size() == length && targets.size() == length,
        "TokenSamples::copy: tokens and targets must hold {} elements, but hold {} and {}", length, tokens.size(),
        targets.size());
  const auto source = tokens_.subspan(static_cast<std::size_t>(index) * length, length + 1);
  std::copy_n(source.begin(), length, tokens.begin());
  std::copy_n(source.begin() + 1, length, targets.begin());
  require_intact(source);
}

}  // namespace accrue::train

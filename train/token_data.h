// A text as training data: its tokens, a validation part, and samples of a fixed context.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "train/data_identity.h"
#include "train/mapped_file.h"

namespace accrue::train {

// A mapped text file whose bytes are its tokens (ByteTokenizer). Spans it hands out live as long as the TokenFile.
class TokenFile {
 public:
  // Reads all of it once. Throws Error(no_input) when the file cannot be mapped, Error(bad_data) when it is empty or
  // did not stay whole.
  explicit TokenFile(const std::filesystem::path& path);

  struct Split {
    std::span<const std::uint8_t> train, validation;
  };
  // Cuts the last floor(fraction * size) tokens off for validation; the training part always keeps at least one token.
  // The tail and not a random choice, so that no validation text neighbours, or overlaps, a training sample.
  // Throws Error(usage) unless 0 <= fraction < 1.
  Split split(double validation_fraction) const;

  // Scans the text once and throws Error(bad_data) naming the first byte, and its offset, that a model with this many
  // tokens has no embedding for.
  void require_vocabulary(std::int64_t vocabulary) const;

  // Of the whole text.
  DataIdentity identity() const { return identity_; }

  std::span<const std::uint8_t> tokens() const { return file_.bytes(); }
  std::string name() const { return file_.path().string(); }

 private:
  MappedFile file_;
  DataIdentity identity_;
};

// Non-overlapping samples of `context` tokens, each with the next token of every position as its target: sample i is
// tokens [i*context, i*context + context) and its targets are the same range one later. A tail too short for a sample
// is left out.
class TokenSamples {
 public:
  // `name` says in errors which text it is: "input.txt (validation part)". The tokens must outlive the object.
  // Throws Error(usage) for a context below 1, Error(bad_data) for fewer than context + 1 tokens.
  TokenSamples(std::span<const std::uint8_t> tokens, std::int64_t context, const std::string& name);

  // Number of samples: (tokens - 1) / context, at least 1.
  std::int64_t size() const { return size_; }
  std::int64_t context() const { return context_; }
  // Fills both spans, each of exactly `context` elements, with sample `index` in [0, size()). Throws Error(bad_data) if
  // the file of the tokens did not stay whole: what the spans hold then is not to be used.
  void copy(std::int64_t index, std::span<std::int32_t> tokens, std::span<std::int32_t> targets) const;

 private:
  std::span<const std::uint8_t> tokens_;
  std::int64_t context_;
  std::int64_t size_;
};

}  // namespace accrue::train

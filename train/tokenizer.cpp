#include "train/tokenizer.h"

#include "core/check.h"

namespace accrue::train {

std::vector<std::int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> ids;
  ids.reserve(text.size());
  // Through unsigned char: a plain char is signed here and would make ids of -128..-1.
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string text;
  text.reserve(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary)
      fail(ErrorKind::bad_data,
           "decode: token {} at position {} is no byte; the byte tokenizer knows the ids 0 to {}, so use a model whose "
           "vocabulary is {}",
           ids[i], i, vocabulary - 1, vocabulary);
    text.push_back(static_cast<char>(static_cast<unsigned char>(ids[i])));
  }
  return text;
}

}  // namespace accrue::train

#include "train/json_syntax.h"

#include <fmt/format.h>

#include <string>

#include "core/check.h"

namespace accrue::train {
namespace {

bool is_digit(int c) { return c >= '0' && c <= '9'; }
bool is_continuation(int c) { return (c & 0xc0) == 0x80; }
int hex_value(int c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// A walk over the text with a bit for each open object or array instead of recursion.
class SyntaxChecker {
 public:
  SyntaxChecker(std::span<const std::uint8_t> text, std::string_view subject, int depth)
      : text_(text), subject_(subject), deepest_(depth) {}

  void check_object() {
    skip_blanks();
    if (peek() != '{')
      fail(ErrorKind::bad_data, "{} is no JSON object: it starts with {} instead of '{{'", subject_, here());
    do {
      begin_value();
      while (depth_ > 0 && !next_value_follows()) {
      }
    } while (depth_ > 0);
    skip_blanks();
    if (peek() != end) refuse("{} after the end of the object", here());
  }

 private:
  static constexpr int end = -1;

  int peek(std::size_t ahead = 0) const { return position_ + ahead < text_.size() ? text_[position_ + ahead] : end; }
  bool take(int c) {
    if (peek() != c) return false;
    ++position_;
    return true;
  }
  void skip_blanks() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') ++position_;
  }
  bool in_object() const { return (objects_ >> (depth_ - 1) & 1) != 0; }

  // From before a value to its end, or into the object or array that it is.
  void begin_value() {
    skip_blanks();
    const int c = peek();
    if (c == '{' || c == '[') {
      open(c == '{');
    } else if (c == '"') {
      string();
    } else if (c == '-' || is_digit(c)) {
      number();
    } else if (!literal("true") && !literal("false") && !literal("null")) {
      refuse("{} where a value is needed", here());
    }
  }

  void open(bool object) {
    if (depth_ == deepest_) refuse("objects and arrays nested deeper than {}", deepest_);
    ++position_;
    ++depth_;
    const std::uint64_t bit = std::uint64_t{1} << (depth_ - 1);
    objects_ = object ? objects_ | bit : objects_ & ~bit;
    empty_ = true;
  }

  // From behind a value, or from the beginning of an object or array: whether another value follows in the innermost
  // one, to which the position then moves. Otherwise that one ends here.
  bool next_value_follows() {
    skip_blanks();
    const char closing = in_object() ? '}' : ']';
    const bool first = empty_;
    empty_ = false;
    if (take(closing)) {
      --depth_;
      return false;
    }
    if (!first && !take(',')) refuse("{} where ',' or '{}' is needed", here(), closing);
    if (in_object()) key();
    return true;
  }

  void key() {
    skip_blanks();
    if (peek() != '"') refuse("{} where a key in quotes is needed", here());
    string();
    skip_blanks();
    if (!take(':')) refuse("{} where the ':' after a key is needed", here());
  }

  bool literal(std::string_view word) {
    for (std::size_t i = 0; i < word.size(); ++i)
      if (peek(i) != word[i]) return false;
    position_ += word.size();
    return true;
  }

  void number() {
    const std::size_t start = position_;
    take('-');
    if (!take('0')) digits("in a number");
    if (take('.')) digits("after a decimal point");
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      digits("in an exponent");
    }
    if (position_ - start > longest_json_number) {
      const std::size_t length = position_ - start;
      position_ = start;
      refuse("a number of {} characters, more than {}", length, longest_json_number);
    }
  }

  void digits(const char* where) {
    if (!is_digit(peek())) refuse("{} where a digit is needed {}", here(), where);
    while (is_digit(peek())) ++position_;
  }

  void string() {
    ++position_;
    while (!take('"')) {
      const int c = peek();
      if (c == end) refuse("a string without its closing quote");
      if (c < 0x20) refuse("the control character 0x{:02x} inside a string", c);
      if (c == '\\') {
        escape();
      } else if (c < 0x80) {
        ++position_;
      } else {
        utf8();
      }
    }
  }

  void escape() {
    const int c = peek(1);
    if (c != end && std::string_view("\"\\/bfnrt").find(static_cast<char>(c)) != std::string_view::npos) {
      position_ += 2;
    } else if (c == 'u') {
      unicode_escape();
    } else {
      ++position_;
      refuse("{} after a backslash", here());
    }
  }

  void unicode_escape() {
    const int unit = escaped_unit();
    if (unit >= 0xdc00 && unit < 0xe000) refuse("an escaped surrogate without the one before it");
    position_ += 6;
    if (unit < 0xd800 || unit >= 0xe000) return;
    const int second = peek() == '\\' && peek(1) == 'u' ? escaped_unit() : 0;
    if (second < 0xdc00 || second >= 0xe000) refuse("an escaped surrogate without the one after it");
    position_ += 6;
  }

  // The four hexadecimal digits behind "\u".
  int escaped_unit() {
    int unit = 0;
    for (std::size_t i = 2; i < 6; ++i) {
      const int value = hex_value(peek(i));
      if (value < 0) {
        position_ += i;
        refuse("{} where a hexadecimal digit is needed", here());
      }
      unit = unit << 4 | value;
    }
    return unit;
  }

  // One character of more than one byte: the table of RFC 3629, section 4. What is longer than need be, a surrogate, or
  // beyond U+10FFFF is none.
  void utf8() {
    const int lead = peek(), second = peek(1);
    std::size_t length = 0;
    if (lead >= 0xc2 && lead <= 0xdf) {
      length = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      const bool overlong = lead == 0xe0 && second < 0xa0, surrogate = lead == 0xed && second >= 0xa0;
      length = overlong || surrogate ? 0 : 3;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      const bool overlong = lead == 0xf0 && second < 0x90, beyond = lead == 0xf4 && second >= 0x90;
      length = overlong || beyond ? 0 : 4;
    }
    for (std::size_t i = 1; i < length; ++i)
      if (!is_continuation(peek(i))) length = 0;
    if (length == 0) refuse("text that is not UTF-8 ({})", here());
    position_ += length;
  }

  // What stands at the position.
  std::string here() const {
    const int c = peek();
    if (c == end) return "the end of the text";
    return c > 0x20 && c < 0x7f ? fmt::format("'{}'", static_cast<char>(c)) : fmt::format("the byte 0x{:02x}", c);
  }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::bad_data, "{} is not valid JSON at byte {}: {}", subject_, position_ + 1,
         fmt::format(format, std::forward<Args>(args)...));
  }

  std::span<const std::uint8_t> text_;
  std::string_view subject_;
  int deepest_;
  std::size_t position_ = 0;
  int depth_ = 0;
  std::uint64_t objects_ = 0;  // bit d: the d-th open one is an object, not an array
  bool empty_ = false;         // nothing has been read behind the bracket that opened the innermost one
};

}  // namespace

void require_json_object(std::span<const std::uint8_t> text, std::string_view subject, int depth) {
  check(depth >= 1 && depth <= deepest_json_nesting, "require_json_object: the depth must be in [1, {}], but is {}",
        deepest_json_nesting, depth);
  SyntaxChecker(text, subject, depth).check_object();
}

}  // namespace accrue::train

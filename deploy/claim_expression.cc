#include "deploy/claim_expression.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda {

struct ClaimExpression::Node {
  std::string kind;  // "number", "name", "+", "-", "*", "/", "min", "max", "abs"
  double number = 0;
  MeasuredName name;
  std::vector<std::shared_ptr<const Node>> parts;
};

// Reads from left to right; `at_` is the next character.
class ClaimExpressionParser {
 public:
  using Node = ClaimExpression::Node;
  using NodePtr = std::shared_ptr<const Node>;

  explicit ClaimExpressionParser(absl::string_view text) : text_(text) {}

  absl::StatusOr<NodePtr> ParseAll(std::vector<MeasuredName>* names) {
    PAGODA_ASSIGN_OR_RETURN(NodePtr root, Sum());
    if (Peek() != '\0') return Unexpected("an operator or the end");
    *names = std::move(names_);
    return root;
  }

 private:
  static constexpr int kDepthMax = 64;  // Parentheses in parentheses; keeps the stack small.

  static NodePtr Make(std::string kind, std::vector<NodePtr> parts) {
    auto node = std::make_shared<Node>();
    node->kind = std::move(kind);
    node->parts = std::move(parts);
    return node;
  }

  char Peek() {
    while (at_ < text_.size() && absl::ascii_isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool Take(char c) {
    if (Peek() != c) return false;
    ++at_;
    return true;
  }

  absl::Status Unexpected(absl::string_view wanted) {
    const bool end = Peek() == '\0';
    return absl::InvalidArgumentError(absl::StrCat("\"", text_, "\": expected ", wanted,
                                                   " at column ", at_ + 1, ", found ",
                                                   end ? "the end" : text_.substr(at_, 1)));
  }

  absl::StatusOr<NodePtr> Sum() {
    if (++depth_ > kDepthMax) return Unexpected("fewer parentheses");
    PAGODA_ASSIGN_OR_RETURN(NodePtr left, Product());
    while (Peek() == '+' || Peek() == '-') {
      const std::string kind(1, text_[at_++]);
      PAGODA_ASSIGN_OR_RETURN(NodePtr right, Product());
      left = Make(kind, {left, right});
    }
    --depth_;
    return left;
  }

  absl::StatusOr<NodePtr> Product() {
    PAGODA_ASSIGN_OR_RETURN(NodePtr left, Factor());
    while (Peek() == '*' || Peek() == '/') {
      const std::string kind(1, text_[at_++]);
      PAGODA_ASSIGN_OR_RETURN(NodePtr right, Factor());
      left = Make(kind, {left, right});
    }
    return left;
  }

  absl::StatusOr<NodePtr> Factor() {
    const char c = Peek();
    if (Take('(')) {
      PAGODA_ASSIGN_OR_RETURN(NodePtr inner, Sum());
      if (!Take(')')) return Unexpected("\")\"");
      return inner;
    }
    if (Take('-')) {
      if (++depth_ > kDepthMax) return Unexpected("fewer signs");
      PAGODA_ASSIGN_OR_RETURN(NodePtr inner, Factor());
      --depth_;
      return Make("*", {Number(-1), inner});
    }
    if (absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '.') return ReadNumber();
    if (absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_') return Call();
    return Unexpected("a number, \"(\" or metric(arm)");
  }

  static NodePtr Number(double value) {
    auto node = std::make_shared<Node>();
    node->kind = "number";
    node->number = value;
    return node;
  }

  absl::StatusOr<NodePtr> ReadNumber() {
    size_t end = at_;
    while (end < text_.size() &&
           (absl::ascii_isdigit(static_cast<unsigned char>(text_[end])) || text_[end] == '.')) {
      ++end;
    }
    double value = 0;
    if (!absl::SimpleAtod(text_.substr(at_, end - at_), &value)) return Unexpected("a number");
    at_ = end;
    return Number(value);
  }

  std::string Word() {
    Peek();
    const size_t begin = at_;
    while (at_ < text_.size() &&
           (absl::ascii_isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) {
      ++at_;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  absl::StatusOr<NodePtr> Call() {
    const std::string word = Word();
    if (!Take('(')) return Unexpected(absl::StrCat("\"(\" after ", word));
    if (word == "min" || word == "max" || word == "abs") return Function(word);
    auto node = std::make_shared<Node>();
    node->kind = "name";
    node->name = {word, Word()};
    if (node->name.arm.empty()) return Unexpected("the name of an arm");
    if (!Take(')')) return Unexpected("\")\"");
    if (std::find(names_.begin(), names_.end(), node->name) == names_.end()) {
      names_.push_back(node->name);
    }
    return NodePtr(node);
  }

  absl::StatusOr<NodePtr> Function(const std::string& word) {
    std::vector<NodePtr> parts;
    do {
      PAGODA_ASSIGN_OR_RETURN(NodePtr part, Sum());
      parts.push_back(std::move(part));
    } while (word != "abs" && Take(','));
    if (!Take(')')) return Unexpected("\")\"");
    return Make(word, std::move(parts));
  }

  absl::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  std::vector<MeasuredName> names_;
};

namespace {

constexpr double kNotDefined = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kLengthMax = 4096;  // A sum nests once a sign: keeps the stack small.

double Combine(const std::string& kind, double left, double right) {
  if (std::isnan(left) || std::isnan(right)) return kNotDefined;
  if (kind == "+") return left + right;
  if (kind == "-") return left - right;
  if (kind == "*") return left * right;
  if (kind == "/") return right == 0 ? kNotDefined : left / right;
  return kind == "min" ? std::min(left, right) : std::max(left, right);
}

template <typename Node, typename Lookup>
double ValueOf(const Node& node, const Lookup& lookup) {
  if (node.kind == "number") return node.number;
  if (node.kind == "name") return lookup(node.name);
  double value = ValueOf(*node.parts[0], lookup);
  if (node.kind == "abs") return std::fabs(value);
  for (size_t i = 1; i < node.parts.size(); ++i) {
    value = Combine(node.kind, value, ValueOf(*node.parts[i], lookup));
  }
  return value;
}

}  // namespace

absl::StatusOr<ClaimExpression> ClaimExpression::Parse(absl::string_view text) {
  if (text.size() > kLengthMax) {
    return absl::InvalidArgumentError(absl::StrCat("an expression has at most ", kLengthMax,
                                                   " characters, this one ", text.size()));
  }
  ClaimExpression expression;
  expression.text_ = std::string(text);
  ClaimExpressionParser parser(expression.text_);
  PAGODA_ASSIGN_OR_RETURN(expression.root_, parser.ParseAll(&expression.names_));
  return expression;
}

bool ClaimExpression::IsName() const {
  return root_->kind == "name";
}

double ClaimExpression::Evaluate(const std::function<double(const MeasuredName&)>& lookup) const {
  return ValueOf(*root_, lookup);
}

}  // namespace pagoda

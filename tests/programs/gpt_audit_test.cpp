// `gpt audit`: what accumulating costs the gradient of a model of the user's.
#include <regex>

#include "tests/programs/programs.h"

namespace accrue::testing {
namespace {

class GptAudit : public GptTest {
 protected:
  static ProcessResult audit(const Arguments& options) {
    return gpt(joined({"audit", "--threads", "1", "--device", "cpu"}, options));
  }
  // Of a new tiny model.
  static ProcessResult audit_new(const Arguments& options) { return audit(joined(tiny_model(), options)); }

  struct AuditedRow {
    std::int64_t accumulation = 0;
    double f32 = 0, bf16 = 0;
  };
  static std::vector<AuditedRow> audited_rows(const std::string& table) {
    static const std::regex row(R"(^ *(\d+) +(\d\S+e\S+) +(\d\S+e\S+)  \S+ \d\S+e\S+$)");
    std::vector<AuditedRow> result;
    for (const std::string& line : lines_of(table)) {
      std::smatch match;
      if (std::regex_match(line, match, row))
        result.push_back({std::stoll(match[1]), std::stod(match[2]), std::stod(match[3])});
    }
    return result;
  }
  static nlohmann::json parsed(const ProcessResult& result) {
    expect_success(result);
    return nlohmann::json::parse(result.out);
  }
};

TEST_F(GptAudit, ShowsARowForEveryAccumulationAPlotAndAConclusion) {
  const ProcessResult result = audit_new({});
  expect_success(result);
  const std::vector<AuditedRow> rows = audited_rows(result.out);
  ASSERT_EQ(rows.size(), 10u) << result.out;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].accumulation, std::int64_t{1} << i);
    EXPECT_LE(rows[i].f32, 1e-6);  // contract 9
    EXPECT_GT(rows[i].bf16, 1e-3);
  }
  EXPECT_EQ(rows.front().f32, 0);
  EXPECT_GT(rows.back().bf16, 10 * rows.front().bf16);
  EXPECT_THAT(result.out, ::testing::HasSubstr("micro-batches of 1 sample, against their sum in fp64:\n"));
  EXPECT_THAT(result.out, ::testing::HasSubstr("512 micro-batches\n"));
  EXPECT_THAT(lines_of(result.out).back(), ::testing::StartsWith("At K = 512, accumulating in bf16 loses "));
}

TEST_F(GptAudit, PrintsTheSameForPrograms) {
  const Arguments options = {"--accumulations", "12,3", "--micro-batch", "2", "--dropout", "0.1", "--recompute"};
  const nlohmann::json json = parsed(audit_new(joined(options, {"--json"})));
  EXPECT_EQ(json.at("micro_batch"), 2);
  EXPECT_EQ(json.at("precision"), "fp32");
  const ProcessResult table = audit_new(options);
  expect_success(table);
  EXPECT_THAT(table.out, ::testing::HasSubstr("micro-batches of 2 samples,"));
  const std::vector<AuditedRow> rows = audited_rows(table.out);
  ASSERT_EQ(rows.size(), 2u) << table.out;
  ASSERT_EQ(json.at("rows").size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    const nlohmann::json& row = json.at("rows")[i];
    EXPECT_EQ(row.at("accumulation"), rows[i].accumulation);
    EXPECT_EQ(fmt::format("{:.2e}", row.at("fp32").at("error").get<double>()), fmt::format("{:.2e}", rows[i].f32));
    EXPECT_EQ(fmt::format("{:.2e}", row.at("bf16").at("error").get<double>()), fmt::format("{:.2e}", rows[i].bf16));
    EXPECT_THAT(table.out, ::testing::HasSubstr(row.at("bf16").at("worst_parameter").get<std::string>()));
    EXPECT_FALSE(row.contains("computation"));
  }
  EXPECT_EQ(rows[0].accumulation, 3);
}

TEST_F(GptAudit, SeedTextMasksAndLossScaleAreThoseAskedFor) {
  const Arguments short_audit = {"--accumulations", "4", "--json"};
  const auto rows = [&](const Arguments& options) {
    return parsed(audit_new(joined(short_audit, options))).at("rows");
  };
  const nlohmann::json plain = rows({});
  EXPECT_EQ(rows({}), plain);
  for (const Arguments& other :
       std::vector<Arguments>{{"--seed", "3"}, {"--text", path("text")}, {"--equal-targets"}, {"--micro-batch", "3"}})
    EXPECT_NE(rows(other), plain) << shown(other);
  EXPECT_EQ(rows({"--loss-scale", "4096"}), plain);  // a power of two, in fp32
}

TEST_F(GptAudit, ATextShorterThanTheAuditRepeats) {
  const ProcessResult within = audit_new({"--text", path("text"), "--accumulations", "40"});
  expect_success(within);
  EXPECT_THAT(within.out, ::testing::Not(::testing::HasSubstr("repeat")));
  const ProcessResult beyond = audit_new({"--text", path("text"), "--accumulations", "41"});
  expect_success(beyond);
  EXPECT_THAT(beyond.out, ::testing::HasSubstr("(the text's 40 samples repeat)"));
}

TEST_F(GptAudit, TakesATrainedModelsWeights) {
  train("run", {"--steps", "2", "--learning-rate", "0.01", "--micro-batch", "4"});
  const Arguments options = {"--text", path("text"), "--accumulations", "1,8", "--json"};
  const nlohmann::json trained = parsed(audit(joined(options, {"--checkpoint", path("run")})));
  EXPECT_NE(trained, parsed(audit_new(options)));
  EXPECT_EQ(parsed(audit(joined(options, {"--weights", path("run/model.safetensors"), "--heads", "2"}))), trained);
  // A shorter context is other samples; what the file fixes may be said again.
  EXPECT_NE(parsed(audit(joined(options, {"--checkpoint", path("run"), "--context", "4"}))), trained);
  EXPECT_EQ(parsed(audit(joined(joined(options, {"--checkpoint", path("run")}), tiny_model()))), trained);
}

TEST_F(GptAudit, RefusesModelsThatContradictTheirFile) {
  train("run", {"--steps", "1"});
  const Arguments checkpoint = {"--checkpoint", path("run")};
  expect_error(audit(joined(checkpoint, {"--layers", "2"})), ErrorKind::usage, {"--layers 2", "has 1"});
  expect_error(audit(joined(checkpoint, {"--heads", "4"})), ErrorKind::usage, {"--heads 4", "has 2"});
  expect_error(audit(joined(checkpoint, {"--context", "9"})), ErrorKind::usage, {"--context 9", "8 positions"});
  expect_error(audit(joined(checkpoint, {"--weights", path("run/model.safetensors")})), ErrorKind::usage,
               {"--checkpoint", "--weights"});
  expect_error(audit({"--weights", path("run/model.safetensors")}), ErrorKind::usage, {"--weights needs --heads"});
  expect_error(audit({"--checkpoint", path("none")}), ErrorKind::no_input, {path("none")});
  expect_error(audit({"--weights", path("text"), "--heads", "2"}), ErrorKind::bad_data, {path("text")});
}

TEST_F(GptAudit, RefusesAccumulationsThatAreNone) {
  for (const char* accumulations :
       {"", "0", "-1", "x", "1,,2", "1,", ",1", "1 2", "1, 2", "1.5", "1000001", "99999999999999999999"}) {
    SCOPED_TRACE(accumulations);
    expect_error(audit_new({"--accumulations", accumulations}), ErrorKind::usage, {"--accumulations"});
  }
  expect_error(audit_new({"--micro-batch", "0"}), ErrorKind::usage, {"--micro-batch", "'0'"});
}

TEST_F(GptAudit, RefusesPrecisionsAndLossScalesThatAreNone) {
  for (const char* precision : {"tf32", "fp16"})
    expect_error(audit_new({"--precision", precision}), ErrorKind::usage,
                 {precision, "the CPU computes in fp32 or bf16"});
  expect_error(audit_new({"--precision", "fp8"}), ErrorKind::usage, {"--precision", "'fp8'"});
  for (const char* scale : {"0", "3", "-2", "0.5", "dynamic", "33554432", "nan", ""})
    expect_error(audit_new({"--loss-scale", scale}), ErrorKind::usage, {"--loss-scale", "power of two"});
}

TEST_F(GptAudit, RefusesTextsThatDoNotFit) {
  expect_error(audit_new({"--text", path("none")}), ErrorKind::no_input, {path("none")});
  expect_error(audit_new({"--text", path("text"), "--vocabulary", "100"}), ErrorKind::bad_data, {path("text"), "100"});
  write_file(path("short"), "abc");
  expect_error(audit_new({"--text", path("short")}), ErrorKind::bad_data, {path("short"), "context 8"});
}

}  // namespace
}  // namespace accrue::testing

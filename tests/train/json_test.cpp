// sanitize: yes
// The JSON writer and the strict reader.
// with: files
#include <doctest/doctest.h>

#include <limits>
#include <polymoe/train/json_reader.hpp>

#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {
std::string skip_error(const std::string& text) {
  return message_of<error>([&] {
    json_reader r(text, "f.json");
    r.skip();
    r.end();
  });
}
std::string back(const std::string& quoted) {
  json_reader r(quoted, "f.json");
  std::string s = r.string();
  r.end();
  return s;
}
}  // namespace

TEST_CASE("json: every string comes back, whatever is in it") {
  CHECK(json_quote("a\"b\\c\n\r\t\x01\x1f\x7f") == "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\\u007f\"");
  for (int c = 0; c < 128; ++c) {
    const std::string s{'<', static_cast<char>(c), '>'};
    REQUIRE(back(json_quote(s)) == s);
  }
  for (const std::string s : {"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80", "\xED\x9F\xBF", "\xEE\x80\x80"})
    CHECK(back(json_quote(s)) == s);
  // Not UTF-8: the result is still valid JSON.
  CHECK(back(json_quote("a\xFF\xC3")) == "a\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(back(json_quote(std::string("\xE2\x82", 2) + "x")) == "\xEF\xBF\xBD\xEF\xBF\xBDx");
  CHECK(back(R"("\u00e9\u20AC\ud83d\ude00\/\b\f")") == "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80/\b\f");
}

TEST_CASE("json: the UTF-8 check knows overlong forms, surrogates and the last code point") {
  for (const std::string bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                                "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3", "\xE2\x82", "\xF0\x9F\x98"}) {
    CHECK(find_bad_utf8(bad) == 0);
    CHECK(find_bad_utf8("ab" + bad) == 2);
  }
  CHECK(find_bad_utf8("\xF4\x8F\xBF\xBF ok") == std::string_view::npos);
}

TEST_CASE("json: numbers are the shortest that read back; NaN and infinities are null") {
  json_writer w;
  w.begin_array().value(0.1).value(0.1f).value(1e300).value(-0.0).value(3.0).value(42).value(std::uint64_t{1} << 63);
  w.value(std::numeric_limits<double>::quiet_NaN()).value(-std::numeric_limits<float>::infinity()).value(true).null();
  CHECK(w.end_array().str() == "[0.1,0.1,1e+300,-0,3,42,9223372036854775808,null,null,true,null]");
  json_reader r("[1, -2.5e-3 ,0.1]", "f.json");
  std::vector<double> x;
  for (r.begin_array(); r.next_element();) x.push_back(r.number());
  CHECK(x == std::vector<double>{1, -2.5e-3, 0.1});
}

TEST_CASE("json: the writer nests and refuses misuse") {
  json_writer w;
  w.begin_object().field("step", 12).key("load").begin_array().value(0.5).begin_object().end_object().end_array();
  CHECK(w.field("name", "a\"b").field("on", false).end_object().str() ==
        R"({"step":12,"load":[0.5,{}],"name":"a\"b","on":false})");
  CHECK_THROWS_AS(json_writer().str(), error);
  CHECK_THROWS_AS(json_writer().begin_object().str(), error);
  CHECK_THROWS_AS(json_writer().begin_object().value(1), error);
  CHECK_THROWS_AS(json_writer().begin_object().key("a").end_object(), error);
  CHECK_THROWS_AS(json_writer().begin_array().key("a"), error);
  CHECK_THROWS_AS(json_writer().begin_array().end_object(), error);
  CHECK_THROWS_AS(json_writer().value(1).value(2), error);
}

TEST_CASE("json: the reader takes what the standard says and nothing else") {
  for (const char* good :
       {"0", "-0.5E+10", "\"\"", "[]", "{}", " [ 1 , {\"a\" : [ true,false , null ] } ] \n", "\"\\u0000\""}) {
    CAPTURE(good);
    CHECK(skip_error(good).empty());
  }
  for (const char* bad : {"",
                          "01",
                          "-",
                          "1.",
                          ".5",
                          "+1",
                          "1e",
                          "0x1",
                          "NaN",
                          "nul",
                          "tru",
                          "[1,]",
                          "[,1]",
                          "[1 2]",
                          "{\"a\":1,}",
                          "{\"a\"}",
                          "{a:1}",
                          "{\"a\":1 \"b\":2}",
                          "[1}",
                          "{\"a\":1]",
                          "[",
                          "{",
                          "\"",
                          "\"\\",
                          "\"\\x\"",
                          "\"\\u12\"",
                          "\"\\ud800\"",
                          "\"\\ud800\\u0041\"",
                          "\"\\udc00\"",
                          "\"\n\"",
                          "1 2",
                          "// c\n1",
                          "'a'",
                          "\xEF\xBB\xBF{}",
                          "\"\xFF\"",
                          "1e999",
                          "{\"a\":1,\"a\":2}",
                          "{\"a\":1,\"\\u0061\":2}"}) {
    CAPTURE(bad);
    CHECK(has(skip_error(bad), "f.json: byte "));
  }
  CHECK(has(skip_error("{\"a\":1,\"a\":2}"), "the key \"a\" stands twice in one object"));
  CHECK(skip_error(std::string(64, '[') + std::string(64, ']')).empty());
  CHECK(has(skip_error(std::string(65, '[') + std::string(65, ']')), "nested deeper than 64"));
  CHECK(has(skip_error(std::string(1000000, '[')), "nested deeper than 64"));
}

TEST_CASE("json: unsigned integers are digits only") {
  const auto read = [](const std::string& text) { return json_reader(text, "f.json").unsigned_integer(); };
  CHECK(read("0") == 0);
  CHECK(read("18446744073709551615") == ~std::uint64_t{0});
  for (const char* bad : {"18446744073709551616", "99999999999999999999", "-1", "1.0", "1e3", "01", "", "\"1\""})
    CHECK_THROWS_AS(read(bad), error);
}

}  // namespace polymoe

//! What is wrong with a text, and where.

use bowline_observe::promql::{Kind, parse};

fn check(text: &str, expected: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert!(error.starts_with(expected), "{text}\n  expected {expected}\n  found    {error}");
}

#[test]
fn a_mistake_has_its_place() {
    check("", "1:1: parse error: unexpected end of the expression: expected an expression");
    check("sum(rate(m[5m])", "1:16: parse error: unexpected end of the expression: expected an operator, `,` or `)`");
    check("sum(m) by service", "1:11: parse error: unexpected `service`: expected `(` and labels");
    check("m{a=\"b\"", "1:8: parse error: unexpected end of the expression: expected `,` or `}`");
    check("m{a=b}", "1:5: parse error: unexpected `b`: expected a value in quotes");
    check("m{a}", "1:4: parse error: unexpected `}`: expected `=`, `!=`, `=~` or `!~`");
    check("m[5m", "1:5: parse error: unexpected end of the expression: expected `:` or `]`");
    check("m[x]", "1:3: parse error: unexpected `x`: expected a duration");
    check("a + * b", "1:5: parse error: unexpected `*`: expected an expression");
    check("a b", "1:3: parse error: unexpected `b`: expected an operator or the end of the expression");
    check("(1", "1:3: parse error: unexpected end of the expression: expected an operator or `)`");
    check("1)", "1:2: parse error: unexpected `)`");
    check("m offset x", "1:10: parse error: unexpected `x`: expected a duration");
    check("m @ now()", "1:5: parse error: unexpected `now`: expected seconds since 1970");
    check("a + group_left (b) c", "1:5: parse error: unexpected `group_left`");
    check("a ~ b", "1:3: parse error: cannot read `~`");
    check("m{a=\"b}", "1:5: parse error: cannot read `\"b}`, this text is not ended");
}

#[test]
fn lines_and_characters_are_counted() {
    check("sum(\n  a,,\n)", "2:5: parse error: unexpected `,`");
    check("\"äöü\" $", "1:7: parse error: cannot read `$`");
    check("a # comment )\n+", "2:2: parse error: unexpected end of the expression");
}

#[test]
fn a_wrong_kind_has_the_place_of_the_smallest_part() {
    check("1 + rate(m)", "1:5: parse error: expected type matrix in call to function 'rate'");
    check("sum(nope(m))", "1:5: parse error: unknown function with name 'nope'");
    check("sum by (a) (abs(x[5m]))", "1:13: parse error: expected type vector in call to function 'abs'");
    check("(a[5m]) + 1", "1:1: parse error: binary expression must contain only scalar and instant vector types");
    check("1 < 2", "1:1: parse error: comparisons between scalars must use BOOL modifier");
    check("a + {}", "1:5: parse error: vector selector must contain at least one non-empty matcher");
    check("topk(m)", "1:1: parse error: wrong number of arguments");
    check("a{b=~\"(\"}", "1:1: parse error: illegal regex");
    check("a + histogram_avg(b)", "1:5: parse error: the function `histogram_avg` is not evaluated here");
    check("limitk(1, a)", "1:1: parse error: `limitk` is experimental");
    check("label_replace(a, \"b\", \"\", \"c\", \"(\")", "1:1: parse error: `(` is not a regular expression");
}

#[test]
fn durations_have_bounds() {
    check("m[101y]", "1:3: parse error: `101y` is no duration: it must be from 0 to 100 years");
    check("m[5x]", "1:3: parse error:");
    check("m[1e300]", "1:3: parse error: `1e300` is no duration");
    check("m offset -inf", "1:11: parse error: `inf` is no duration");
    check("m[5m:99999999999s]", "1:6: parse error: `99999999999s` is no duration");
    assert!(parse("m[1h30m:15s] offset -1w").is_ok() && parse("m[300]").is_ok());
}

#[test]
fn texts_are_bounded_in_size_and_depth() {
    check(&"a".repeat(16 * 1024 + 1), "1:16385: parse error: the expression has 16385 bytes");
    check(&"(".repeat(10_000), "1:101: parse error: the expression is nested more than 100 levels deep");
    let nested = format!("{}1{}", "(".repeat(8000), ")".repeat(8000));
    check(&nested, "1:101: parse error: the expression is nested more than 100 levels deep");
    check(&format!("{}1", "-".repeat(10_000)), "1:101: parse error: the expression is nested more than 100 levels");
    check(&format!("1{}", "+1".repeat(8000)), "1:202: parse error: the expression is nested more than 100 levels");
    check(&format!("m{}", "[1m:]".repeat(3000)), "1:502: parse error: the expression is nested more than 100 levels");
    check(&format!("a{{{}}}", "a=~\"b\",".repeat(101)), "1:704: parse error: the expression has more than 100 regular");
    let deep = format!("{}m{}", "abs(".repeat(100), ")".repeat(100));
    assert_eq!(parse(&deep).unwrap().kind(), Kind::Vector);
    assert!(parse(&format!("m{{a=~\"{}\"}}", "x".repeat(1000))).is_ok());
}

#[test]
fn an_expression_knows_what_it_gives() {
    let kind = |text: &str| parse(text).unwrap().kind();
    assert_eq!(
        (kind("1 + 2"), kind("\"a\""), kind("m"), kind("m[5m]")),
        (Kind::Scalar, Kind::Text, Kind::Vector, Kind::Matrix)
    );
    assert_eq!(
        (kind("(m[1h:])"), kind("scalar(m) ^ time()"), kind("1 > bool m")),
        (Kind::Matrix, Kind::Scalar, Kind::Vector)
    );
    assert_eq!(parse(" m ").unwrap().to_string(), " m ");
}

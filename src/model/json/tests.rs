//! Against what `JSON.parse` and `JSON.stringify` do.

use super::*;

fn compact(text: &str) -> String {
    let json = Json::parse(text.as_bytes(), MAX_DEPTH).expect("valid");
    let mut out = Vec::new();
    json.root().write_compact(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn pretty(text: &str) -> String {
    let json = Json::parse(text.as_bytes(), MAX_DEPTH).expect("valid");
    let mut out = Vec::new();
    json.root().write_pretty(&mut out, 0);
    String::from_utf8(out).expect("UTF-8")
}

fn error(text: &[u8]) -> JsonError {
    Json::parse(text, MAX_DEPTH).expect_err("invalid")
}

#[test]
fn numbers_are_printed_as_javascript_prints_them() {
    for (source, printed) in [
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("1e21", "1e+21"),
        ("1E20", "100000000000000000000"),
        ("123456789012345678", "123456789012345680"),
        ("9007199254740993", "9007199254740992"),
        ("1e-7", "1e-7"),
        ("0.000001", "0.000001"),
        ("5e-324", "5e-324"),
        ("1e400", "null"),
        ("-1e400", "null"),
        ("-12", "-12"),
        ("999999999999999", "999999999999999"),
    ] {
        assert_eq!(compact(source), printed, "{source}");
    }
}

#[test]
fn keys_are_ordered_as_javascript_orders_them() {
    assert_eq!(
        compact(r#"{"b":1,"10":2,"a":3,"9":4,"01":5,"4294967294":6,"4294967295":7}"#),
        r#"{"9":4,"10":2,"4294967294":6,"b":1,"a":3,"01":5,"4294967295":7}"#
    );
    assert_eq!(compact(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
    assert_eq!(compact(r#"{"\u0061":1,"a":2}"#), r#"{"a":2}"#);
    assert_eq!(
        compact(r#"{"__proto__":1,"b":2}"#),
        r#"{"__proto__":1,"b":2}"#
    );
    let many: Vec<String> = (0..40).map(|n| format!("\"k{}\":{n}", n % 30)).collect();
    let text = format!("{{{}}}", many.join(","));
    assert_eq!(
        Json::parse(text.as_bytes(), 9)
            .expect("valid")
            .root()
            .entries()
            .count(),
        30
    );
}

#[test]
fn strings_are_escaped_as_javascript_escapes_them() {
    for (source, printed) in [
        (r#""\/\u0041\u001f\u000a""#, "\"/A\\u001f\\n\""),
        (r#""\ud83d\ude00""#, "\"😀\""),
        (r#""\ud83d""#, r#""\ud83d""#),
        (r#""\uDE00\uD83D""#, r#""\ude00\ud83d""#),
        (r#""\ud83d\u0041""#, r#""\ud83dA""#),
        (r#""\ud83d\ud83d\ude00""#, "\"\\ud83d😀\""),
        ("\"\\u2028\u{2029}\\u007f\"", "\"\u{2028}\u{2029}\u{7f}\""),
        (r#""a\"\\b""#, r#""a\"\\b""#),
    ] {
        assert_eq!(compact(source), printed, "{source}");
    }
}

#[test]
fn pretty_form_is_that_of_stringify_with_two_spaces() {
    assert_eq!(
        pretty(r#"{"a":[],"b":{},"c":[1,{"d":null}]}"#),
        "{\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    {\n      \"d\": null\n    }\n  ]\n}"
    );
}

#[test]
fn laid_out_texts_are_known_as_such() {
    let laid_out = |text: &str| {
        let json = Json::parse(text.as_bytes(), 99).expect("valid");
        let verbatim = json.verbatim().is_some();
        let mut out = Vec::new();
        Tree::Array(vec![Tree::Value(json.root())]).write_pretty(&mut out, 0);
        let mut walked = Vec::new();
        Tree::Array(vec![Tree::object([("a", Tree::Value(json.root()))])])
            .write_compact(&mut walked);
        assert_eq!(verbatim, pretty(text) == text, "{text:?}");
        // Printing by lines and printing by values are the same.
        let json = Json::parse(&out, 99).expect("valid");
        assert_eq!(json.verbatim(), Some(&out[..]), "{text:?}");
    };
    for text in [
        "{}",
        "[]",
        "1",
        "\"a\"",
        "{\n  \"a\": 1\n}",
        "{\n  \"a\": [\n    {},\n    []\n  ],\n  \"b\": null\n}",
        "{\n  \"a\": 1\n}\n",
        " {}",
        "{ }",
        "[ ]",
        "{\"a\":1}",
        "{\n \"a\": 1\n}",
        "{\n  \"a\" : 1\n}",
        "{\n  \"a\":  1\n}",
        "{\n  \"a\": 1 \n}",
        "{\n  \"a\": 1\n }",
        "{\n\t\t\"a\": 1\n}",
        "{\n  \"a\": 1,\n  \"b\": 2\n}",
        "{\n  \"a\": 1 ,\n  \"b\": 2\n}",
        "{\n  \"a\": 1, \n  \"b\": 2\n}",
        "{\n  \"a\": 1.0\n}",
        "{\n  \"a\": -1\n}",
        "{\n  \"\\u0061\": 1\n}",
        "{\n  \"b\": 1,\n  \"1\": 1\n}",
        "{\n  \"b\": 1,\n  \"b\": 1\n}",
        "[\n  1e400\n]",
    ] {
        laid_out(text);
    }
}

#[test]
fn bad_text_is_refused_with_its_place() {
    assert_eq!(error(b""), JsonError::Empty);
    assert_eq!(error(b" \n"), JsonError::Empty);
    assert_eq!(error(b"{\"a\":"), JsonError::Truncated(5));
    assert_eq!(error(b"{\"a"), JsonError::Truncated(3));
    assert_eq!(error(b"tru"), JsonError::Truncated(3));
    assert_eq!(error(b"{} x"), JsonError::Trailing(3));
    assert_eq!(error(b"{\"a\" 1}"), JsonError::Unexpected(5));
    assert_eq!(error(b"[1,]"), JsonError::Unexpected(3));
    assert_eq!(error(b"[01]"), JsonError::Unexpected(2));
    assert_eq!(error(b"[1.]"), JsonError::Unexpected(3));
    assert_eq!(error(b"\"\x01\""), JsonError::Unexpected(1));
    assert_eq!(error(b"\"\\x\""), JsonError::Unexpected(2));
    assert_eq!(error(b"\"\\u12g4\""), JsonError::Unexpected(5));
    assert_eq!(error(b"\"\xff\""), JsonError::NotUtf8(1));
    assert_eq!(error(b"\xef\xbb\xbf{}"), JsonError::Unexpected(0));
    assert_eq!(error(b"\"\xc3"), JsonError::Truncated(2));
    assert_eq!(error(&vec![b'['; 10_000]), JsonError::TooDeep(MAX_DEPTH));
}

#[test]
fn deep_values_cost_no_stack() {
    let text = [vec![b'['; 1_999], vec![b']'; 1_999]].concat();
    let json = Json::parse(&text, MAX_DEPTH).expect("valid");
    let mut out = Vec::new();
    json.root().write_compact(&mut out);
    assert_eq!(out, text);
}

#[test]
fn values_are_found_by_name() {
    let json = Json::parse(br#"{"a":{"b":[1,"x\n",true]},"c":2.5}"#, 9).expect("valid");
    let items: Vec<Value<'_>> = json
        .root()
        .get("a")
        .and_then(|a| a.get("b"))
        .expect("there")
        .items()
        .collect();
    assert_eq!(items[0].as_f64(), Some(1.0));
    assert_eq!(items[1].as_str().as_deref(), Some("x\n"));
    assert!(items[1].is("x\n"));
    assert_eq!(items[2].kind(), Kind::Bool);
    assert_eq!(json.root().get("c").and_then(Value::as_f64), Some(2.5));
    assert!(json.root().get("d").is_none());
}

#[test]
fn trees_print_new_and_old_parts_alike() {
    let json = Json::parse(br#"{ "x" : [ 1 , 2 ] }"#, 9).expect("valid");
    let tree = Tree::object([
        ("a", Tree::Value(json.root())),
        ("b", Tree::Number(-0.0)),
        ("c", Tree::Array(vec![Tree::Null, Tree::from("q\"")])),
    ]);
    let mut out = Vec::new();
    tree.write_compact(&mut out);
    assert_eq!(out, br#"{"a":{"x":[1,2]},"b":0,"c":[null,"q\""]}"#);
    assert_eq!(
        String::from_utf8(tree.to_pretty()).expect("UTF-8"),
        "{\n  \"a\": {\n    \"x\": [\n      1,\n      2\n    ]\n  },\n  \"b\": 0,\n  \"c\": [\n    null,\n    \"q\\\"\"\n  ]\n}"
    );
}

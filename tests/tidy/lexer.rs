//! Just enough of Rust's lexical grammar to tell code from comments and literals, and to find functions.

/// `source` with every comment, and the inside of every literal, overwritten by filler of the same length.
///
/// Comments become spaces, so a line with nothing but a comment becomes blank. The inside of string
/// and character literals becomes `_`, so braces and keywords in them are not taken for code. Line
/// breaks stay where they are: a position means the same in `source` and in the result.
pub(crate) fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut masked = Vec::with_capacity(bytes.len());
    while masked.len() < bytes.len() {
        let at = masked.len();
        let rest = &bytes[at..];
        let previous = at.checked_sub(1).map(|before| bytes[before]);
        let (length, filler) = match rest {
            [b'/', b'/', ..] => (line_comment(rest), b' '),
            [b'/', b'*', ..] => (block_comment(rest), b' '),
            [b'"', ..] => (string(rest), b'_'),
            [b'r', b'"' | b'#', ..] if starts_literal(previous) => (raw_string(rest), b'_'),
            [b'\'', ..] => (character(rest), b'_'),
            _ => (1, rest[0]),
        };
        // A raw identifier, a lifetime or the end of the file in a literal: one byte of plain code.
        let (length, filler) = if length == 0 { (1, rest[0]) } else { (length, filler) };
        let skipped = &rest[..length.min(rest.len())];
        masked.extend(skipped.iter().map(|&byte| if byte == b'\n' { byte } else { filler }));
    }
    String::from_utf8_lossy(&masked).into_owned()
}

/// Whether an `r` after `previous` can begin a raw string: it is not the end of a name, but may follow `b` or `c`.
fn starts_literal(previous: Option<u8>) -> bool {
    !previous.is_some_and(|byte| is_name(byte) && !matches!(byte, b'b' | b'c'))
}

fn line_comment(rest: &[u8]) -> usize {
    rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of `r"..."`, `r#"..."#` and so on, or 0 for a raw identifier such as `r#type`.
fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[2 + hashes..];
    let length = inside.windows(end.len()).position(|window| window == end);
    length.map_or(rest.len(), |length| 2 + hashes + length + end.len())
}

/// The length of a character literal, or 0 for a lifetime or a loop label.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|&byte| byte == b'\'');
        return close.map_or(0, |close| close + 4);
    }
    // One character of up to four bytes, then the quote: `'a` without it is a lifetime.
    let first = std::str::from_utf8(&rest[1..rest.len().min(5)]);
    let first = match &first {
        Ok(text) => text.chars().next(),
        Err(error) => std::str::from_utf8(&rest[1..1 + error.valid_up_to()]).ok().and_then(|text| text.chars().next()),
    };
    match first {
        Some(first) if rest.get(1 + first.len_utf8()) == Some(&b'\'') => first.len_utf8() + 2,
        _ => 0,
    }
}

fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// The positions at which the word `word` stands in masked source.
pub(crate) fn words<'a>(masked: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = masked.as_bytes();
    masked.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let end = at + word.len();
        let before = at == 0 || !is_name(bytes[at - 1]);
        before && bytes.get(end).is_none_or(|&byte| !is_name(byte))
    })
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`, from 1.
    pub(crate) line: usize,
    /// Its lines of code, from `fn` to the closing brace.
    pub(crate) length: usize,
}

/// Every function with a body in masked source, nested ones too.
pub(crate) fn functions(masked: &str) -> Vec<Function> {
    words(masked, "fn").filter_map(|at| function(masked, at)).collect()
}

/// The function whose `fn` is at `at`; `None` for a function pointer, a macro's pattern, or a declaration.
fn function(masked: &str, at: usize) -> Option<Function> {
    let rest = &masked[at + 2..];
    let name: String = rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None;
    }
    let mut depth = 0_i32;
    for (offset, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => {
                let end = at + 2 + offset + block(&rest[offset..]);
                let line = masked[..at].matches('\n').count() + 1;
                return Some(Function { name, line, length: code_lines(&masked[at..end]) });
            }
            _ => {}
        }
        if depth < 0 {
            return None; // the end of whatever this was an argument of
        }
    }
    None
}

/// The length of the block that `masked` begins with, both braces included.
pub(crate) fn block(masked: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in masked.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    masked.len()
}

/// How many lines of masked source hold code.
pub(crate) fn code_lines(masked: &str) -> usize {
    masked.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Masked source without its `#[cfg(test)] mod tests { .. }`.
pub(crate) fn without_tests(masked: &str) -> String {
    let Some(start) = masked.find("\nmod tests {").map(|at| at + 1) else {
        return masked.to_owned();
    };
    let attributes: usize =
        masked[..start].split_inclusive('\n').rev().take_while(|line| line.starts_with("#[")).map(str::len).sum();
    let first = start - attributes;
    if !masked[first..start].contains("test") {
        return masked.to_owned();
    }
    let end = start + block(&masked[start..]);
    format!("{}{}", &masked[..first], &masked[end..])
}

mod tests {
    use super::*;

    #[test]
    fn comments_become_blank() {
        assert_eq!(mask("a // b\nc"), "a     \nc");
        assert_eq!(mask("a /* b /* c */ d */ e"), "a                   e");
        assert_eq!(mask("a /* b\n*/ c"), "a     \n   c");
        assert_eq!(code_lines(&mask("//! doc\n\n/* x\n y */\nlet a;\n")), 1);
    }

    #[test]
    fn literals_lose_their_inside() {
        assert!(!mask(r#"let a = "{ // \" unsafe";"#).contains(['{', '/']));
        assert!(mask(r#"let a = "x"; // y"#).starts_with("let a = ___;"));
        assert!(!mask(r##"r#"a " {"# }"##).contains('{'));
        assert!(mask(r##"r#"a " {"# }"##).ends_with(" }"));
        assert!(mask("br\"{\\\" }").ends_with(" }"));
        assert_eq!(mask("'{' '\\'' '\\u{7b}' b'{' }"), "___ ____ ________ b___ }");
        assert_eq!(mask("'é' {").trim_start_matches('_'), " {");
    }

    #[test]
    fn lifetimes_labels_and_raw_names_are_code() {
        for code in ["fn f<'a>(x: &'a str) {}", "'outer: loop {}", "r#type {}", "for<'a> Fn(&'a u8)"] {
            assert_eq!(mask(code), code);
        }
    }

    #[test]
    fn words_are_whole() {
        let positions = |text| words(text, "unsafe").collect::<Vec<_>>();
        assert_eq!(positions("unsafe { my_unsafe } unsafe_code (unsafe)"), [0, 34]);
    }

    #[test]
    fn functions_are_found_and_measured() {
        let source = "fn a() {\n    b();\n\n    // c\n    if x { \"}\" }\n}\nfn b(f: fn(u8) -> u8, n: [u8; 3]) -> u8 { 1 }\n\
                      trait T { fn c(); fn d() where Self: Sized { fn e() {} } }\n";
        let found = functions(&mask(source));
        let found: Vec<_> = found.iter().map(|f| (f.name.as_str(), f.line, f.length)).collect();
        assert_eq!(found, [("a", 1, 4), ("b", 7, 1), ("d", 8, 1), ("e", 8, 1)]);
    }

    #[test]
    fn trailing_tests_are_not_counted() {
        let source = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(code_lines(&without_tests(&mask(source))), 1);
        let no_tests = "mod x;\nmod tests {\n}\n";
        assert_eq!(code_lines(&without_tests(&mask(no_tests))), 3);
    }
}

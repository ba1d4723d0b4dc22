//! How a value is written so that it is read as itself, in a shell and in the web servers' languages.

use super::NotConfigurable;

/// A word of a shell.
pub fn shell(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte);
    match !text.is_empty() && text.bytes().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A path as it stands in a URL.
pub fn url(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match is_of_a_name(byte) {
            true => out.push(char::from(byte)),
            false => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// A regular expression of PCRE's for just this text.
pub(super) fn regex(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'.' => out += "\\.",
            _ if is_of_a_name(byte) => out.push(char::from(byte)),
            _ => out += &format!("\\x{byte:02x}"),
        }
    }
    out
}

/// Whether a byte means nothing but itself wherever it stands in a path.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-./_~".contains(&byte)
}

/// Whether a path is of names that need no quoting anywhere.
pub(super) fn is_plain(path: &str) -> bool {
    path.bytes().all(is_of_a_name)
}

/// A value in quotation marks, with a backslash before those in it and before backslashes; as it is where it needs none.
pub(super) fn quoted(text: &str) -> String {
    let needs_none = |byte: u8| is_of_a_name(byte) || b":@|*[]".contains(&byte);
    match text.bytes().all(needs_none) {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A value that a language has no way to write with one of these in it.
pub(super) fn refuse(
    server: &str,
    what: &str,
    text: &str,
    these: &[&str],
) -> Result<(), NotConfigurable> {
    let found = these.iter().find(|word| text.contains(**word));
    match found {
        None if !text.contains(char::is_control) => Ok(()),
        None => Err(NotConfigurable::new(format!(
            "{what} '{}' has a control character in it, which cannot be written in {server}'s configuration: give it another name",
            text.escape_default()
        ))),
        Some(word) => Err(NotConfigurable::new(format!(
            "{what} '{text}' has '{word}' in it, which {server}'s configuration takes for something else: give it another name"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, refuse, regex, shell, url};

    #[test]
    fn values_are_written_as_each_language_reads_them() {
        assert_eq!(
            (shell("/a.b"), shell("it's")),
            ("/a.b".into(), "'it'\\''s'".into())
        );
        assert_eq!(shell(""), "''");
        assert_eq!(url("/a b/\u{e9}"), "/a%20b/%C3%A9");
        assert_eq!(regex("/a+b.c"), "/a\\x2bb\\.c");
        assert_eq!(quoted("/a b\"\\"), "\"/a b\\\"\\\\\"");
        let error = refuse("nginx", "the folder", "/a$b", &["$"]).unwrap_err();
        assert!(error.to_string().contains("'/a$b' has '$' in it"));
        assert!(refuse("nginx", "the folder", "/a\n", &[]).is_err());
    }
}

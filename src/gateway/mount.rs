//! `--mount` and `--script-name`: where the operator says that the application lies in the site's URLs.
//!
//! It is compared with the path that was asked for, so that the answer is the same on every web server, whatever that
//! made of the path. Behind a proxy that takes the prefix away (`--script-name`) the path does not have it.

use thiserror::Error;

use super::url::{decoded, is_normal};

/// The path prefix of an application, without a slash at its end: empty for the root of the site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    prefix: Vec<u8>,
    /// Whether a proxy in front takes the prefix out of the URL, so that no path lies outside.
    is_stripped: bool,
}

/// Why a text is no prefix. The message names it and says what one looks like.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "'{text}' is no place in a site: it {fault}; write it as in a URL, such as /shop, or / for the whole site"
)]
pub struct MountError {
    text: String,
    fault: &'static str,
}

impl Mount {
    /// The prefix as an operator writes it, as it stands in a URL: percent escapes are decoded, slashes at the end mean
    /// nothing.
    ///
    /// # Errors
    /// When a URL that a web server passes on cannot begin with it.
    pub fn parse(text: &str) -> Result<Self, MountError> {
        let fault = |fault| {
            Err(MountError {
                text: text.to_owned(),
                fault,
            })
        };
        if !text.starts_with('/') {
            return fault("does not begin with a slash");
        }
        if text.contains(['?', '#']) {
            return fault("has more than a path in it");
        }
        let prefix = decoded(text.trim_end_matches('/').as_bytes()).into_owned();
        if prefix.iter().any(u8::is_ascii_control) {
            return fault("has a control character in it");
        }
        if !is_normal(&prefix) || prefix.ends_with(b"/") {
            return fault("has '//', '.' or '..' in it, which web servers take out of URLs");
        }
        Ok(Self {
            prefix,
            is_stripped: false,
        })
    }

    /// The prefix that a proxy in front takes away, written as for [`Mount::parse`].
    ///
    /// # Errors
    /// As [`Mount::parse`].
    pub fn parse_stripped(text: &str) -> Result<Self, MountError> {
        let mount = Self::parse(text)?;
        Ok(Self {
            is_stripped: true,
            ..mount
        })
    }

    /// A mount of what [`Mount::prefix`] and [`Mount::is_stripped`] have said.
    pub fn of_parts(prefix: Vec<u8>, is_stripped: bool) -> Self {
        Self {
            prefix,
            is_stripped,
        }
    }

    /// Whether a proxy in front takes the prefix out of the URL.
    pub fn is_stripped(&self) -> bool {
        self.is_stripped
    }

    /// The option that says it.
    pub fn option(&self) -> &'static str {
        match self.is_stripped {
            true => "--script-name",
            false => "--mount",
        }
    }

    /// The prefix: empty, or a path that begins with a slash and does not end with one.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What is behind the prefix in a path, and `None` for a path outside it: `/appx` is not under `/app`, and neither
    /// is `/app/../x`, which Caddy and HAProxy pass on as it is.
    pub(super) fn rest<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let rest = rest_below(path, &self.prefix)?;
        let stays = is_normal(rest) || {
            let normal = super::url::normal(path);
            rest_below(&normal, &self.prefix).is_some()
        };
        stays.then_some(rest)
    }
}

/// What is behind a prefix in a path, where the two part at the end of a segment.
pub(super) fn rest_below<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(prefix)
        .filter(|rest| matches!(rest, [] | [b'/', ..]))
}

#[cfg(test)]
mod tests {
    use super::Mount;

    #[test]
    fn a_prefix_is_read_as_it_stands_in_a_url() {
        for (text, prefix) in [
            ("/", ""),
            ("//", ""),
            ("/app", "/app"),
            ("/app/", "/app"),
            ("/a/b-c.d/~e", "/a/b-c.d/~e"),
            ("/a%20b", "/a b"),
            ("/caf\u{e9}", "/caf\u{e9}"),
            ("/..a/b..", "/..a/b.."),
        ] {
            let mount = Mount::parse(text).unwrap();
            assert_eq!(mount.prefix(), prefix.as_bytes(), "{text}");
        }
    }

    #[test]
    fn what_no_url_begins_with_is_refused_in_a_sentence() {
        for text in [
            "",
            "app",
            "http://a.example/app",
            "/a?b",
            "/a#b",
            "/a//b",
            "/a/../b",
            "/a/.",
            "/..",
            "/a%2f%2fb",
            "/a%2F",
            "/a%00",
            "/a\n",
        ] {
            let message = Mount::parse(text).unwrap_err().to_string();
            assert!(message.contains(&format!("'{text}'")), "{message}");
            assert!(message.contains("such as /shop"), "{message}");
        }
    }

    #[test]
    fn only_whole_segments_below_are_inside() {
        let mount = Mount::parse("/app").unwrap();
        for (path, rest) in [
            ("/app", Some("")),
            ("/app/", Some("/")),
            ("/app/z", Some("/z")),
            ("/app//z", Some("//z")),
            ("/app/a/../z", Some("/a/../z")),
            ("/app/../app/z", Some("/../app/z")),
            ("/appx", None),
            ("/APP/z", None),
            ("/ap", None),
            ("/app/../x", None),
            ("/app/..", None),
            ("", None),
        ] {
            let got = mount.rest(path.as_bytes());
            assert_eq!(got, rest.map(str::as_bytes), "{path}");
        }
        let root = Mount::default();
        assert_eq!(root.rest(b"/z"), Some(&b"/z"[..]));
        assert_eq!(root.rest(b""), Some(&b""[..]));
    }
}

//! The path of the URL that was asked for, taken apart as web servers do it: percent escapes, empty segments, dots.
//!
//! Nothing is copied where nothing changes.

use std::borrow::Cow;

/// The path in REQUEST_URI, as the client spelled it. Apache leaves the whole of an absolute-form target there (RFC 9112
/// section 3.2.2), nginx a fragment. `None` for what has no path (`*`).
pub(super) fn path_of(uri: &[u8]) -> Option<&[u8]> {
    let path = if uri.first() == Some(&b'/') {
        uri
    } else {
        let host = position(uri, b"://")? + 3;
        let slash = uri[host..].iter().position(|&byte| byte == b'/')?;
        &uri[host + slash..]
    };
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#'));
    Some(&path[..end.unwrap_or(path.len())])
}

/// The query in REQUEST_URI, and `None` where there is none.
pub(super) fn query_of(uri: &[u8]) -> Option<&[u8]> {
    let end = uri.iter().position(|&byte| byte == b'#');
    let uri = &uri[..end.unwrap_or(uri.len())];
    let mark = uri.iter().position(|&byte| byte == b'?')?;
    Some(&uri[mark + 1..])
}

/// Whether this spelling of a path means `front` and `rest` together, once its escapes are decoded.
pub(super) fn spells(spelled: &[u8], front: &[u8], rest: &[u8]) -> bool {
    let length = front.len() + rest.len();
    // Escapes take three bytes for one.
    if spelled.len() == length {
        return spelled.starts_with(front) && spelled.ends_with(rest) && !spelled.contains(&b'%')
            || bytes(spelled).eq(front.iter().chain(rest).copied());
    }
    spelled.len() > length
        && spelled.contains(&b'%')
        && bytes(spelled).eq(front.iter().chain(rest).copied())
}

/// A path with its percent escapes decoded, once. What is no escape stays (`%zz`), and so does `+`.
pub fn decoded(spelled: &[u8]) -> Cow<'_, [u8]> {
    if spelled.contains(&b'%') {
        bytes(spelled).collect()
    } else {
        spelled.into()
    }
}

/// The bytes that a path spells.
fn bytes(spelled: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = spelled;
    std::iter::from_fn(move || {
        let (byte, after) = match *rest {
            [b'%', high, low, ref after @ ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => (high * 16 + low, after),
                _ => (b'%', &rest[1..]),
            },
            [byte, ref after @ ..] => (byte, after),
            [] => return None,
        };
        rest = after;
        Some(byte)
    })
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Whether a path has neither empty segments (but for one at its end) nor dot segments.
pub(super) fn is_normal(path: &[u8]) -> bool {
    let mut after_slash = false;
    for (at, &byte) in path.iter().enumerate() {
        if after_slash {
            let segment = &path[at..];
            let ends = |count: usize| matches!(segment.get(count), None | Some(b'/'));
            if byte == b'/' || byte == b'.' && (ends(1) || segment.get(1) == Some(&b'.') && ends(2))
            {
                return false;
            }
        }
        after_slash = byte == b'/';
    }
    true
}

/// A path as nginx, Apache and lighttpd make it before they split it: slashes merged, dot segments resolved (RFC 3986
/// section 5.2.4).
pub(super) fn normal(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.starts_with(b"/") || is_normal(path) {
        return path.into();
    }
    let mut normal = Vec::with_capacity(path.len());
    let mut segments = path[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = normal.iter().rposition(|&byte| byte == b'/');
                normal.truncate(parent.unwrap_or(0));
            }
            _ => {
                normal.push(b'/');
                normal.extend_from_slice(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            normal.push(b'/');
        }
    }
    normal.into()
}

/// Where `needle` begins in `hay`.
pub(super) fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|here| here == needle)
}

/// Whether a path ends with a script's name, as far as names tell.
pub(super) fn is_script(path: &[u8]) -> bool {
    [&b".py"[..], b".cgi", b".fcgi", b".wsgi", b".php"]
        .iter()
        .any(|ending| path.ends_with(ending))
}

/// Where the first segment ends that is a script's name.
pub(super) fn end_of_script(path: &[u8]) -> Option<usize> {
    let slashes = (1..path.len()).filter(|&at| path[at] == b'/');
    slashes
        .chain([path.len()])
        .find(|&end| is_script(&path[..end]))
}

/// A path in which each `%2F` is the slash that it stands for; `None` where there is none.
pub(super) fn slashes_decoded(path: &[u8]) -> Option<Vec<u8>> {
    let is_slash = |escape: &[u8]| escape.eq_ignore_ascii_case(b"%2f");
    let first = path.windows(3).position(is_slash)?;
    let mut out = Vec::with_capacity(path.len());
    out.extend_from_slice(&path[..first]);
    let mut rest = &path[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if rest.get(..3).is_some_and(is_slash) {
            out.push(b'/');
            rest = &rest[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
    Some(out)
}

/// What stands behind the last slash.
pub(super) fn last_segment(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{decoded, is_normal, normal, path_of, spells};

    #[test]
    fn the_path_is_what_stands_before_the_query() {
        for (uri, path) in [
            ("/a/b?c=/d", Some("/a/b")),
            ("/a#b?c", Some("/a")),
            ("/", Some("/")),
            ("//a//b", Some("//a//b")),
            ("http://h.example:99/a?b", Some("/a")),
            ("http://h.example", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(path_of(uri.as_bytes()), path.map(str::as_bytes), "{uri}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        for (spelled, path) in [
            ("/a%20b%2fc%2Fd", &b"/a b/c/d"[..]),
            ("/caf%C3%A9", b"/caf\xc3\xa9"),
            ("/a%2520b", b"/a%20b"),
            ("/a%00", b"/a\0"),
            ("/a%zzb%", b"/a%zzb%"),
            ("/%4", b"/%4"),
            ("/a+b", b"/a+b"),
            ("", b""),
        ] {
            assert_eq!(*decoded(spelled.as_bytes()), *path, "{spelled}");
            for cut in 0..=path.len() {
                let (front, rest) = path.split_at(cut);
                assert!(spells(spelled.as_bytes(), front, rest), "{spelled}");
            }
            assert!(!spells(spelled.as_bytes(), path, b"x"));
        }
        assert!(!spells(b"/a%20b", b"/a%20b", b""));
        assert!(!spells(b"/ab", b"/ac", b""));
        assert!(!spells(b"/ab", b"/a", b""));
    }

    #[test]
    fn slashes_are_merged_and_dots_resolved() {
        for (path, clean) in [
            ("//a//b//", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/../../x", "/x"),
            ("/a/...", "/a/..."),
            ("/.a/..b", "/.a/..b"),
            ("/", "/"),
            ("//", "/"),
            ("/a/", "/a/"),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(*normal(path.as_bytes()), *clean.as_bytes(), "{path}");
            assert_eq!(is_normal(path.as_bytes()), path == clean, "{path}");
        }
    }
}

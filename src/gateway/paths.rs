//! SCRIPT_NAME and PATH_INFO: where the application is mounted, and what was asked of it (RFC 3875 sections 4.1.5 and
//! 4.1.13; PEP 3333, "environ Variables").
//!
//! Web servers do not agree on what they put there. The rules below come from what each of them was seen to send; they
//! give what is right wherever the variables tell, and what was sent is kept where they do not. SCRIPT_FILENAME and the
//! others are compared as text: nothing that comes with a request opens a file or chooses code.

use std::borrow::Cow;

use super::mount::{Mount, rest_below};
use super::url::{decoded, is_normal, normal, path_of, position, spells};

/// What made SCRIPT_NAME and PATH_INFO what they are. The letters are those of the tests' tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Nothing had to change.
    AsSent,
    /// A. Apache with `AllowEncodedSlashes NoDecode` leaves `%2F`, and only that, undecoded.
    EncodedSlash,
    /// B. Apache went from the URL to a script by `RewriteRule` in a `.htaccess`, or by `FallbackResource`: the mount is
    /// the folder in which the script lies.
    Redirected,
    /// C. nginx with its stock parameters, and HAProxy: the whole path is in SCRIPT_NAME, and no PATH_INFO.
    WholePath,
    /// C. Apache's `ProxyPass`: the whole path is in SCRIPT_NAME, and what is below the mount ends SCRIPT_FILENAME.
    ProxyPass,
    /// D. merecat, and lighttpd with `"/"`: the slash that belongs to PATH_INFO ends SCRIPT_NAME.
    TrailingSlash,
    /// E. A rewrite in nginx, lighttpd or Apache's server configuration, and Caddy's `handle_path`: PATH_INFO is the end of
    /// the URL's path, and SCRIPT_NAME is not what stands before it.
    Before,
    /// F. A front controller without PATH_INFO (Caddy's `php_fastcgi`, an index file), a path that was cut within a segment
    /// (Caddy's `split`), a whole URL as path (h2o), or no path at all: the URL's path is PATH_INFO.
    Whole,
    /// The operator's `--mount`.
    Mount,
    /// The request is not under `--mount`: the application does not see it.
    OutsideMount,
}

/// What decides, as sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent<'a> {
    pub(super) script_name: &'a [u8],
    pub(super) path_info: Option<&'a [u8]>,
    pub(super) request_uri: Option<&'a [u8]>,
    pub(super) script_filename: &'a [u8],
    pub(super) redirect_url: &'a [u8],
    pub(super) server_software: &'a [u8],
    /// Whether the web server ran a program for this request, so that SCRIPT_NAME can be where that program lies.
    pub(super) by_program: bool,
}

/// SCRIPT_NAME and PATH_INFO for the application, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths<'a> {
    pub(super) script_name: Cow<'a, [u8]>,
    pub(super) path_info: Cow<'a, [u8]>,
    pub(super) rule: PathRule,
}

impl<'a> Paths<'a> {
    pub(super) fn of(sent: &Sent<'a>, mount: Option<&'a Mount>) -> Self {
        let spelled = sent.request_uri.and_then(path_of);
        let as_sent = Self {
            script_name: sent.script_name.into(),
            path_info: sent.path_info.unwrap_or_default().into(),
            rule: PathRule::AsSent,
        };
        let paths = as_sent.with_slashes(sent, spelled);
        match mount {
            Some(mount) => paths.under(mount, spelled),
            None => paths.split(sent).compared(sent, spelled),
        }
    }

    fn new(
        script_name: impl Into<Cow<'a, [u8]>>,
        path_info: impl Into<Cow<'a, [u8]>>,
        rule: PathRule,
    ) -> Self {
        Self {
            script_name: script_name.into(),
            path_info: path_info.into(),
            rule,
        }
    }

    /// Whether this is the path that was asked for, spelled out.
    fn are(&self, spelled: &[u8]) -> bool {
        spells(spelled, &self.script_name, &self.path_info)
    }

    /// Whether SCRIPT_NAME and PATH_INFO together are this path.
    fn join_to(&self, path: &[u8]) -> bool {
        path.strip_prefix(&*self.script_name) == Some(&*self.path_info)
    }

    /// Rule A, for whichever of the two has the end of the path. Without the URL there is no telling `%2F` from a
    /// `%252F` that was decoded.
    fn with_slashes(self, sent: &Sent<'_>, spelled: Option<&[u8]>) -> Self {
        let in_path_info = !self.path_info.is_empty();
        let path = if in_path_info {
            &self.path_info
        } else {
            &self.script_name
        };
        if !path.contains(&b'%') || !is_apache(sent) {
            return self;
        }
        let (Some(asked), Some(slashes)) = (spelled.map(decoded), slashes_decoded(path)) else {
            return self;
        };
        let is_asked = asked.ends_with(&slashes) || normal(&asked).ends_with(&normal(&slashes));
        if asked.ends_with(path) || !is_asked {
            self
        } else if in_path_info {
            Self::new(self.script_name, slashes, PathRule::EncodedSlash)
        } else {
            Self::new(slashes, self.path_info, PathRule::EncodedSlash)
        }
    }

    /// Rule C: a FastCGI web server that knows no scripts has no PATH_INFO to send.
    fn split(self, sent: &Sent<'a>) -> Self {
        if sent.path_info.is_some() || self.script_name.is_empty() {
            return self;
        }
        if is_apache(sent) {
            // mod_fcgid and SetHandler name the script's file there, which no URL ends with: the script itself was
            // asked for, and PATH_INFO is empty.
            let below = decoded(below_the_backend(sent.script_filename));
            // Where rule A has decoded the slashes of SCRIPT_NAME, they are still encoded here.
            let slashes = slashes_decoded(&below).map_or(Cow::Borrowed(&*below), Cow::Owned);
            // With `nocanon` it is as the client spelled it.
            let front = [&below, &normal(&below), &slashes]
                .into_iter()
                .find_map(|below| {
                    let front = self.script_name.strip_suffix(&**below)?;
                    below.starts_with(b"/").then_some(front.len())
                });
            return match front {
                Some(front) => {
                    let (front, below) = self.script_name.split_at(front);
                    Self::new(front.to_vec(), below.to_vec(), PathRule::ProxyPass)
                }
                None => self,
            };
        }
        let is_whole = if sent.by_program {
            // fcgiwrap hands on what nginx sends. Where SCRIPT_NAME is the program's own name, that was asked for.
            is_nginx(sent)
                && last_segment(&self.script_name) != last_segment(sent.script_filename)
                && !sent.script_filename.is_empty()
        } else {
            // lighttpd leaves PATH_INFO out for the script's own URL.
            !sent.server_software.starts_with(b"lighttpd")
        };
        if is_whole {
            Self::new(&b""[..], self.script_name, PathRule::WholePath)
        } else {
            self
        }
    }

    /// Rules B, D, E and F: compares with what was asked for.
    fn compared(self, sent: &Sent<'a>, spelled: Option<&'a [u8]>) -> Self {
        let Some(spelled) = spelled else {
            return self.with_slash_moved().with_slash_in_front();
        };
        if self.are(spelled) && is_mount(&self.script_name) && is_path_info(&self.path_info) {
            return self;
        }
        let asked = decoded(spelled);
        let clean = normal(&asked);
        let rewritten = is_rewritten(&clean, &self.script_name);
        if rewritten && !sent.redirect_url.is_empty() && is_apache(sent) {
            if let Some(redirected) = self.redirected(&clean) {
                return redirected;
            }
        }
        let paths = self.with_slash_moved();
        let path_info = &*paths.path_info;
        let is_nowhere = path_info.is_empty() && (rewritten || paths.script_name.is_empty());
        if is_nowhere || !is_path_info(path_info) {
            return Self::new(&b""[..], clean.into_owned(), PathRule::Whole);
        }
        let is_asked = paths.are(spelled) || paths.join_to(&clean);
        if path_info.is_empty() || is_asked && is_mount(&paths.script_name) {
            return paths;
        }
        if sent.request_uri.is_some_and(|uri| !uri.starts_with(b"/"))
            && paths.script_name.is_empty()
            && path_info.ends_with(&asked)
        {
            return Self::new(&b""[..], clean.into_owned(), PathRule::Whole);
        }
        let before = [&clean, &asked]
            .into_iter()
            .filter_map(|whole| whole.strip_suffix(path_info))
            .find(|before| is_mount(before));
        match before {
            Some(before) => Self::new(before.to_vec(), paths.path_info, PathRule::Before),
            None => paths,
        }
    }

    /// Rule B. PATH_INFO, where there is one, must be what was asked for, since a rule may have made another path of it.
    /// mod_rewrite reads what it puts together as a URL once more: `%2520` becomes a space, and `%23` ends the path.
    fn redirected(&self, clean: &[u8]) -> Option<Self> {
        let slash = self.script_name.iter().rposition(|&byte| byte == b'/')?;
        let folder = &self.script_name[..slash];
        let rest = rest_below(clean, folder)?;
        let path_info = normal(&self.path_info);
        let read_again = decoded(path_of(rest).unwrap_or_default());
        let is_asked =
            path_info.is_empty() || path_info == rest || path_info == normal(&read_again);
        is_asked.then(|| Self::new(folder.to_vec(), rest.to_vec(), PathRule::Redirected))
    }

    /// Rule D.
    fn with_slash_moved(self) -> Self {
        let Some(script_name) = self.script_name.strip_suffix(b"/") else {
            return self;
        };
        let mut path_info = self.path_info.into_owned();
        if path_info.first() != Some(&b'/') {
            path_info.insert(0, b'/');
        }
        Self::new(script_name.to_vec(), path_info, PathRule::TrailingSlash)
    }

    /// A path that is not empty begins with a slash (RFC 3875 section 4.1.5).
    fn with_slash_in_front(self) -> Self {
        if is_path_info(&self.path_info) {
            return self;
        }
        let path_info = [b"/", &*self.path_info].concat();
        Self::new(self.script_name, path_info, PathRule::Whole)
    }

    /// What `--mount` makes of it: the path that was asked for, as the web server cleaned it, counts, and not where the web
    /// server split it or what it made of it. Only where a rewrite leads into the mount, what it led to.
    fn under(self, mount: &'a Mount, spelled: Option<&[u8]>) -> Self {
        let sent = self.joined();
        let asked = spelled
            .filter(|spelled| !spells(spelled, b"", &sent))
            .map(decoded);
        let clean = asked.as_deref().map(normal);
        let sent_clean = normal(&sent);
        let rewritten = clean
            .as_deref()
            .is_some_and(|clean| is_rewritten(clean, &self.script_name));
        let path_info = rewritten.then_some(&*self.path_info);
        let candidates = match &clean {
            Some(clean) if rewritten || *clean != sent_clean => {
                [Some(&**clean), Some(&*sent), path_info]
            }
            _ => [Some(&*sent), Some(&*sent_clean), None],
        };
        let rest = candidates
            .into_iter()
            .flatten()
            .find_map(|path| mount.rest(path));
        match rest.map(<[u8]>::to_vec) {
            Some(rest) => Self::new(mount.prefix(), rest, PathRule::Mount),
            None => Self::new(self.script_name, self.path_info, PathRule::OutsideMount),
        }
    }

    /// The two as one path: lighttpd with `"/"` has a slash at the end of one and at the front of the other.
    fn joined(&self) -> Cow<'_, [u8]> {
        let front = match &*self.path_info {
            [b'/', ..] => self.script_name.strip_suffix(b"/"),
            _ => None,
        };
        let front = front.unwrap_or(&self.script_name);
        if front.is_empty() {
            (&*self.path_info).into()
        } else if self.path_info.is_empty() {
            front.into()
        } else {
            [front, &*self.path_info].concat().into()
        }
    }
}

/// Whether SCRIPT_NAME is not the beginning of what was asked for.
fn is_rewritten(clean: &[u8], script_name: &[u8]) -> bool {
    let script_name = script_name.strip_suffix(b"/").unwrap_or(script_name);
    rest_below(clean, script_name).is_none()
}

/// Whether this can be a mount: empty, or a path in which a web server has nothing to clean. Caddy and HAProxy split
/// `/x/../app/z` and `//app/z` as they come.
fn is_mount(path: &[u8]) -> bool {
    path.is_empty() || path.starts_with(b"/") && !path.ends_with(b"/") && is_normal(path)
}

fn is_path_info(path: &[u8]) -> bool {
    matches!(path, [] | [b'/', ..])
}

fn is_apache(sent: &Sent<'_>) -> bool {
    sent.server_software.starts_with(b"Apache")
}

fn is_nginx(sent: &Sent<'_>) -> bool {
    sent.server_software.starts_with(b"nginx/")
}

/// A path in which each `%2F` is the slash that it stands for; `None` where there is none.
fn slashes_decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut rest = path;
    let mut out = Vec::new();
    while let Some(at) = position(rest, b"%2F").or_else(|| position(rest, b"%2f")) {
        // The first of either kind.
        let at = position(&rest[..at], b"%2f").unwrap_or(at);
        out.extend_from_slice(&rest[..at]);
        out.push(b'/');
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    (out.len() < path.len()).then_some(out)
}

/// The path below the back end's URL in SCRIPT_FILENAME: `proxy:fcgi://host:port/path`, or the path alone where
/// `ProxyFCGIBackendType GENERIC` is set.
fn below_the_backend(script_filename: &[u8]) -> &[u8] {
    let url = script_filename
        .strip_prefix(b"proxy:")
        .unwrap_or(script_filename);
    match position(url, b"://") {
        Some(scheme) => {
            let host = &url[scheme + 3..];
            let path = host.iter().position(|&byte| byte == b'/');
            path.map_or(b"", |path| &host[path..])
        }
        None => url,
    }
}

fn last_segment(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{PathRule, Paths, Sent};
    use crate::gateway::Mount;

    fn sent(variables: &[(&str, &'static str)], by_program: bool) -> Sent<'static> {
        let mut sent = Sent {
            by_program,
            ..Sent::default()
        };
        for (name, value) in variables {
            let value = value.as_bytes();
            match *name {
                "SN" => sent.script_name = value,
                "PI" => sent.path_info = Some(value),
                "RU" => sent.request_uri = Some(value),
                "SF" => sent.script_filename = value,
                "RED" => sent.redirect_url = value,
                _ => sent.server_software = value,
            }
        }
        sent
    }

    /// `tests/captures/` has what the rules make of real requests; this says which rule it is.
    #[test]
    fn each_rule_is_for_the_server_that_needs_it() {
        use PathRule::{
            AsSent, Before, EncodedSlash, ProxyPass, Redirected, TrailingSlash, Whole, WholePath,
        };
        const APACHE: (&str, &str) = ("SW", "Apache/2.4");
        const NGINX: (&str, &str) = ("SW", "nginx/1.22.1");
        for (variables, script_name, path_info, rule) in [
            (
                &[("SN", ""), ("PI", "/a b"), ("RU", "/a%20b?x"), NGINX][..],
                "",
                "/a b",
                AsSent,
            ),
            (&[("SN", ""), ("PI", "/z"), NGINX], "", "/z", AsSent),
            (
                &[("SN", "/app"), ("PI", "/z"), ("RU", "/app//z")],
                "/app",
                "/z",
                AsSent,
            ),
            (
                &[("SN", "/app"), ("RU", "/app"), APACHE],
                "/app",
                "",
                AsSent,
            ),
            (
                &[("SN", ""), ("PI", "/a%2Fb"), ("RU", "/a%2Fb"), APACHE],
                "",
                "/a/b",
                EncodedSlash,
            ),
            // The client asked for the letters "%2F".
            (
                &[("SN", ""), ("PI", "/a%2Fb"), ("RU", "/a%252Fb"), APACHE],
                "",
                "/a%2Fb",
                AsSent,
            ),
            (
                &[
                    ("SN", "/s/app.cgi"),
                    ("PI", "/a b"),
                    ("RU", "/s/a%2520b"),
                    ("RED", "/s/a%20b"),
                    APACHE,
                ],
                "/s",
                "/a%20b",
                Redirected,
            ),
            (
                &[("SN", "/app.cgi"), ("RU", "/z"), ("RED", "/z"), APACHE],
                "",
                "/z",
                Redirected,
            ),
            // The rewrite leads to another path: what it says holds.
            (
                &[
                    ("SN", "/app.cgi"),
                    ("PI", "/new"),
                    ("RU", "/old"),
                    ("RED", "/old"),
                    APACHE,
                ],
                "/app.cgi",
                "/new",
                AsSent,
            ),
            (
                &[("SN", "/app/z"), ("RU", "/app/z"), NGINX],
                "",
                "/app/z",
                WholePath,
            ),
            (&[("SN", "/z"), ("RU", "/z")], "", "/z", WholePath),
            (&[("SN", "/z"), NGINX], "", "/z", WholePath),
            (
                &[("SN", "/new"), ("RU", "/old"), NGINX],
                "",
                "/new",
                WholePath,
            ),
            (
                &[
                    ("SN", "/app/z"),
                    ("RU", "/app/z"),
                    ("SF", "proxy:fcgi://h:9/z"),
                    APACHE,
                ],
                "/app",
                "/z",
                ProxyPass,
            ),
            (
                &[
                    ("SN", "/app.fcgi"),
                    ("RU", "/app.fcgi"),
                    ("SF", "/srv/www/app.fcgi"),
                    APACHE,
                ],
                "/app.fcgi",
                "",
                AsSent,
            ),
            (
                &[("SN", "/app"), ("RU", "/app"), ("SW", "lighttpd/1.4.69")],
                "/app",
                "",
                AsSent,
            ),
            (
                &[("SN", "/app.cgi/"), ("RU", "/app.cgi/")],
                "",
                "/app.cgi/",
                WholePath,
            ),
            (
                &[("SN", "/"), ("RU", "/"), ("SW", "lighttpd/1.4.69")],
                "",
                "/",
                TrailingSlash,
            ),
            (
                &[("SN", "/index.cgi"), ("PI", "/z"), ("RU", "/z"), NGINX],
                "",
                "/z",
                Before,
            ),
            (
                &[
                    ("SN", ""),
                    ("PI", "/z"),
                    ("RU", "/app/z"),
                    ("SW", "Caddy/v2"),
                ],
                "/app",
                "/z",
                Before,
            ),
            (
                &[
                    ("SN", "/x/../app"),
                    ("PI", "/z"),
                    ("RU", "/x/../app/z"),
                    ("SW", "Caddy/v2"),
                ],
                "/app",
                "/z",
                Before,
            ),
            (
                &[
                    ("SN", "/index.php"),
                    ("PI", ""),
                    ("RU", "/z"),
                    ("SW", "Caddy/v2"),
                ],
                "",
                "/z",
                Whole,
            ),
            (
                &[
                    ("SN", "/app"),
                    ("PI", "x"),
                    ("RU", "/appx"),
                    ("SW", "Caddy/v2"),
                ],
                "",
                "/appx",
                Whole,
            ),
            (&[("SN", "/app"), ("PI", "x")], "/app", "/x", Whole),
            (&[("RU", "/z")], "", "/z", Whole),
            (&[("SN", ""), ("RU", "*")], "", "", AsSent),
        ] {
            let paths = Paths::of(&sent(variables, false), None);
            let expected = Paths::new(script_name.as_bytes(), path_info.as_bytes(), rule);
            assert_eq!(paths, expected, "{variables:?}");
        }
    }

    #[test]
    fn a_program_can_lie_where_script_name_says() {
        for (variables, path_info, rule) in [
            (
                &[("SN", "/z"), ("SF", "/srv/app.cgi")][..],
                "/z",
                PathRule::WholePath,
            ),
            (
                &[("SN", "/app.cgi"), ("SF", "/srv/app.cgi")],
                "",
                PathRule::AsSent,
            ),
            (&[("SN", "/app.cgi")], "", PathRule::AsSent),
        ] {
            let mut sent = sent(variables, true);
            sent.server_software = b"nginx/1.22.1";
            let paths = Paths::of(&sent, None);
            assert_eq!(
                (&*paths.path_info, paths.rule),
                (path_info.as_bytes(), rule)
            );
        }
    }

    /// However the web server split it, and whatever it made of it.
    #[test]
    fn under_a_mount_what_was_asked_for_counts() {
        let mount = Mount::parse("/app").unwrap();
        for (script_name, path_info, uri, expected) in [
            ("/app", "/z", Some("/app/z"), Some("/z")),
            ("", "/app/z", Some("/app/z"), Some("/z")),
            ("/app/z", "", Some("/app/z"), Some("/z")),
            ("/app/z", "", None, Some("/z")),
            ("/app", "", Some("/app"), Some("")),
            ("/app", "/", Some("/app"), Some("")),
            ("/index.cgi", "/app/z", Some("/app/z"), Some("/z")),
            ("", "/z", Some("/app/z"), Some("/z")),
            ("//app", "/z", Some("//app/z"), Some("/z")),
            ("", "/app//z", Some("/app//z"), Some("//z")),
            ("/app/a b", "/a%20b", Some("/app/a%20b"), Some("/a b")),
            // A rewrite leads into the mount, and so does a proxy that took it away and says so.
            ("/app/z", "", Some("/old"), Some("/z")),
            ("/app", "/z", Some("/z"), Some("/z")),
            ("/appx", "", Some("/appx"), None),
            ("", "/x/app/z", Some("/x/app/z"), None),
            ("/x", "/app/z", Some("/x/app/z"), None),
            ("/x", "/app/z", None, None),
            ("", "/app/../z", Some("/app/../z"), None),
            ("", "/APP/z", Some("/APP/z"), None),
            ("", "/", Some("/"), None),
            ("", "", None, None),
        ] {
            let sent = Sent {
                script_name: script_name.as_bytes(),
                path_info: Some(path_info.as_bytes()),
                request_uri: uri.map(str::as_bytes),
                ..Sent::default()
            };
            let paths = Paths::of(&sent, Some(&mount));
            let got = match paths.rule {
                PathRule::OutsideMount => None,
                _ => Some(&*paths.path_info),
            };
            assert_eq!(got, expected.map(str::as_bytes), "{sent:?}");
        }
    }
}

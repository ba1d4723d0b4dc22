//! SCRIPT_NAME and PATH_INFO: where the application is mounted, and what was asked of it (RFC 3875 sections 4.1.5 and
//! 4.1.13; PEP 3333, "environ Variables").
//!
//! Web servers do not agree on what they put there. The rules below come from what each of them was seen to send; they
//! give what is right wherever the variables tell, and what was sent is kept where they do not. SCRIPT_FILENAME and the
//! others are compared as text: nothing that comes with a request opens a file or chooses code.

use std::borrow::Cow;

use super::mount::{Mount, rest_below};
use super::path_rule::PathRule;
use super::path_variables::PathVariables;
use super::url::{
    decoded, end_of_script, is_normal, is_script, last_segment, normal, path_of, slashes_decoded,
    spells,
};

/// SCRIPT_NAME and PATH_INFO for the application, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Paths<'a> {
    pub(super) script_name: Cow<'a, [u8]>,
    pub(super) path_info: Cow<'a, [u8]>,
    pub(super) rule: PathRule,
}

impl<'a> Paths<'a> {
    pub(super) fn of(sent: &PathVariables<'a>, mount: Option<&'a Mount>) -> Self {
        let spelled = sent.request_uri.and_then(path_of);
        let as_sent = Self {
            script_name: sent.script_name.into(),
            path_info: sent.path_info.unwrap_or_default().into(),
            rule: PathRule::AsSent,
        };
        let paths = as_sent.with_slashes(sent, spelled);
        match mount {
            Some(mount) if mount.is_stripped() => paths.below_a_proxy(sent, mount, spelled),
            Some(mount) => paths.under(sent, mount, spelled),
            None => paths
                .with_escapes_undone(sent, spelled)
                .split(sent, spelled)
                .compared(sent, spelled),
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
    fn with_slashes(self, sent: &PathVariables<'_>, spelled: Option<&[u8]>) -> Self {
        let in_path_info = !self.path_info.is_empty();
        let path = if in_path_info {
            &self.path_info
        } else {
            &self.script_name
        };
        if !path.contains(&b'%') || !sent.is_apache() {
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

    /// Rule A, where more than slashes is encoded: once by Apache, up to twice by nginx.
    fn with_escapes_undone(self, sent: &PathVariables<'_>, spelled: Option<&[u8]>) -> Self {
        let is_suspect = sent.is_apache() || sent.is_configured_by_hand();
        let (true, true, Some(spelled)) = (is_suspect, self.path_info.contains(&b'%'), spelled)
        else {
            return self;
        };
        let asked = decoded(spelled);
        let clean = normal(&asked);
        let is_asked = |path: &[u8]| asked.ends_with(path) || clean.ends_with(path);
        if is_asked(&self.path_info) {
            return self;
        }
        let once = decoded(&self.path_info);
        let twice = decoded(&once);
        let path = [&once, &twice].into_iter().find(|path| is_asked(path));
        match path.map(|path| path.to_vec()) {
            Some(path) => Self::new(self.script_name, path, PathRule::Encoded),
            None => self,
        }
    }

    /// Rules C and G: a FastCGI web server that knows no scripts has no PATH_INFO to send, or the same in both.
    fn split(self, sent: &PathVariables<'a>, spelled: Option<&[u8]>) -> Self {
        if self.script_name.is_empty() {
            return self;
        }
        let asked = spelled.map(decoded);
        let clean = asked.as_deref().map(normal);
        if let (Some(spelled), Some(clean)) = (spelled, &clean) {
            if let Some(below) = self.below_a_named_mount(sent, spelled, clean) {
                return Self::new(self.script_name, below, PathRule::NamedMount);
            }
        }
        if sent.is_apache() {
            return self.split_by_the_backend(sent);
        }
        if sent.path_info.is_some() {
            return self;
        }
        let is_whole = if sent.by_program {
            // fcgiwrap hands on what nginx sends. Where SCRIPT_NAME is the program's own name, that was asked for.
            sent.is_nginx()
                && last_segment(&self.script_name) != last_segment(sent.script_filename)
                && !sent.script_filename.is_empty()
        } else {
            // lighttpd leaves PATH_INFO out for the script's own URL.
            !sent.is_lighttpd()
        };
        match clean {
            _ if !is_whole => self,
            Some(clean) if is_script(&self.script_name) && *clean != *self.script_name => {
                Self::new(&b""[..], clean.into_owned(), PathRule::Whole)
            }
            _ => Self::new(&b""[..], self.script_name, PathRule::WholePath),
        }
    }

    /// Rule C for Apache: what is below the mount ends SCRIPT_FILENAME.
    fn split_by_the_backend(self, sent: &PathVariables<'a>) -> Self {
        if self.is_split_below(sent) {
            let joined = self.joined().into_owned();
            let below = decoded(sent.below_the_backend()).len();
            let (front, below) = joined.split_at(joined.len() - below);
            return Self::new(front.to_vec(), below.to_vec(), PathRule::ProxyPass);
        }
        if sent.path_info.is_some() {
            return self;
        }
        // mod_fcgid and SetHandler name the script's file there, which no URL ends with: the script itself was
        // asked for, and PATH_INFO is empty.
        let below = decoded(sent.below_the_backend());
        // Where rule A has decoded the slashes of SCRIPT_NAME, they are still encoded here.
        let slashes = slashes_decoded(&below).map_or(Cow::Borrowed(&*below), Cow::Owned);
        // With `nocanon` it is as the client spelled it.
        let front = [&below, &normal(&below), &slashes]
            .into_iter()
            .find_map(|below| {
                let front = self.script_name.strip_suffix(&**below)?;
                below.starts_with(b"/").then_some(front.len())
            });
        match front {
            Some(front) => {
                let (front, below) = self.script_name.split_at(front);
                Self::new(front.to_vec(), below.to_vec(), PathRule::ProxyPass)
            }
            None => self.split_behind_the_script(sent, &below),
        }
    }

    /// Rule C for `ProxyPass /app fcgi://host/srv/app.fcgi` and `ProxyPassMatch ^/(.*\.py(/.*)?)$ fcgi://host/srv/www/$1`: below
    /// the back end lies a script, and the application's path behind it.
    fn split_behind_the_script(self, sent: &PathVariables<'_>, below: &[u8]) -> Self {
        let front = end_of_script(below)
            .filter(|_| sent.script_filename.starts_with(b"proxy:"))
            .and_then(|end| self.script_name.strip_suffix(&below[end..]))
            .map(<[u8]>::len);
        match front {
            Some(front) => {
                let (front, below) = self.script_name.split_at(front);
                Self::new(front.to_vec(), below.to_vec(), PathRule::ProxyPass)
            }
            None => self,
        }
    }

    /// Rules B, D, E and F: compares with what was asked for.
    fn compared(self, sent: &PathVariables<'a>, spelled: Option<&'a [u8]>) -> Self {
        let Some(spelled) = spelled else {
            return self.with_slash_moved().with_slash_in_front();
        };
        if self.are(spelled) && is_mount(&self.script_name) && is_path_info(&self.path_info) {
            return self;
        }
        let asked = decoded(spelled);
        let clean = normal(&asked);
        let rewritten = is_rewritten(&clean, &self.script_name);
        let to_a_file = sent.is_apache() && !sent.redirect_url.is_empty()
            || self.path_info.is_empty() && (sent.is_apache() || sent.is_lighttpd());
        if self.is_stripped_prefix(sent, &asked, &clean) {
            return Self::new(self.script_name, self.path_info, PathRule::StrippedPrefix);
        }
        if rewritten && to_a_file {
            if let Some(redirected) = self.redirected(&clean) {
                return redirected;
            }
        }
        let paths = self.with_slash_moved();
        let path_info = &*paths.path_info;
        let is_stripped = path_info.is_empty() && paths.script_name.is_empty();
        if is_stripped && sent.path_info.is_some() && sent.is_caddy() && is_mount(&clean) {
            // `uri strip_prefix` left nothing of the mount's own URL.
            return Self::new(clean.into_owned(), &b""[..], PathRule::Before);
        }
        // The name of a script that nobody asked for is in PATH_INFO where nginx copies $fastcgi_script_name to it.
        let is_front_controller = is_script(path_info)
            && (paths.script_name.is_empty() || *paths.script_name == *path_info)
            && !clean.ends_with(path_info);
        if !is_path_info(path_info) {
            // location ~ ^/app/(.*)$ { ... SCRIPT_NAME /app; PATH_INFO $1 }
            let below = rest_below(&clean, &paths.script_name).unwrap_or_default();
            if below.strip_prefix(b"/") == Some(path_info) && is_mount(&paths.script_name) {
                let below = below.to_vec();
                return Self::new(paths.script_name, below, PathRule::NamedMount);
            }
        }
        let is_nowhere = is_stripped || path_info.is_empty() && rewritten || is_front_controller;
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
        if let Some(before) = before {
            return Self::new(before.to_vec(), paths.path_info, PathRule::Before);
        }
        // A rewrite can read what it puts together as a URL once more, as `redirected` has it.
        let path = path_of(&clean).unwrap_or_default();
        let slashes = (0..path.len()).filter(|&at| path[at] == b'/');
        // No mount lies deeper, and a long URL of slashes must not cost its square.
        let found = slashes
            .take(32)
            .find(|&at| spells(&path[at..], b"", path_info) && is_mount(&path[..at]));
        match found {
            Some(at) => Self::new(clean[..at].to_vec(), clean[at..].to_vec(), PathRule::Before),
            None => paths,
        }
    }

    /// Rule G: what is below SCRIPT_NAME, where that is the mount and PATH_INFO is not what is below it.
    fn below_a_named_mount(
        &self,
        sent: &PathVariables<'_>,
        spelled: &[u8],
        clean: &[u8],
    ) -> Option<Vec<u8>> {
        if is_script(&self.script_name) {
            // A rewrite leads all URLs to the script, and /site.py/z is one of them: it must not become another name for /z, which
            // the web server may guard.
            return None;
        }
        let path_info = &*self.path_info;
        let whole = if path_info.is_empty() {
            sent.is_configured_by_hand().then_some(clean)?
        } else {
            let is_whole = path_info == clean || spells(spelled, b"", path_info);
            (is_whole && (sent.is_configured_by_hand() || sent.is_caddy())).then_some(path_info)?
        };
        let below = rest_below(whole, &self.script_name)?;
        (is_mount(&self.script_name) && !below.is_empty()).then(|| below.to_vec())
    }

    /// Whether Apache has split the path below where `RewriteRule ... [P]` in a `.htaccess` put the application: it looks
    /// for a file, and the first segment that is none ends SCRIPT_NAME. What is below the mount is in SCRIPT_FILENAME.
    fn is_split_below(&self, sent: &PathVariables<'_>) -> bool {
        let below = decoded(sent.below_the_backend());
        sent.script_filename.starts_with(b"proxy:")
            && !self.path_info.is_empty()
            && below.len() > self.path_info.len()
            && self.joined().ends_with(&below)
    }

    /// Rule B. PATH_INFO, where there is one, must be what was asked for, since a rule may have made another path of it.
    /// mod_rewrite reads what it puts together as a URL once more: `%2520` becomes a space, and `%23` ends the path.
    fn redirected(&self, clean: &[u8]) -> Option<Self> {
        let slash = self.script_name.iter().rposition(|&byte| byte == b'/')?;
        let folder = &self.script_name[..slash];
        let rest = rest_below(clean, folder)?;
        let path_info = normal(&self.path_info);
        let read_again = decoded(path_of(rest).unwrap_or_default());
        // With the flag B a space is a plus.
        let escaped = rest
            .iter()
            .map(|&byte| if byte == b' ' { b'+' } else { byte });
        let is_asked = path_info.is_empty()
            || path_info == rest
            || path_info == normal(&read_again)
            || path_info.iter().copied().eq(escaped);
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
    fn under(self, sent: &PathVariables<'_>, mount: &'a Mount, spelled: Option<&[u8]>) -> Self {
        let is_lighttpd = sent.is_lighttpd();
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
        // The name of a script is where a rewrite led to, and not what was asked for.
        let names_script = self.path_info.is_empty() && is_script(&self.script_name);
        let led_to = (!names_script).then_some(&*sent);
        let says_mount = !mount.prefix().is_empty() && *self.script_name == *mount.prefix();
        let candidates = match &clean {
            // lighttpd's `strip-request-uri` takes the mount out of the URL.
            Some(clean) if says_mount && is_lighttpd && *self.path_info == **clean => {
                [Some(&*sent), None, None]
            }
            // nginx's `location /app` is for /appx too, and Caddy's `/app*` for /APP; SCRIPT_NAME is /app for all of them.
            Some(clean) if says_mount && rewritten && begins_like(clean, mount.prefix()) => {
                [None, None, None]
            }
            Some(clean) if rewritten || *clean != sent_clean => [Some(&**clean), led_to, path_info],
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

    /// What `--script-name` makes of it: PATH_INFO is what the web server has left below its own mount, but for the prefix where the
    /// proxy has left that in the URL.
    fn below_a_proxy(
        self,
        sent: &PathVariables<'a>,
        prefix: &'a Mount,
        spelled: Option<&'a [u8]>,
    ) -> Self {
        let named = self.script_name.strip_suffix(b"/");
        let is_named = *named.unwrap_or(&self.script_name) == *prefix.prefix();
        let path = if is_named && !prefix.prefix().is_empty() {
            // Said in the web server's configuration, too: what comes with it need not be a part of the URL.
            match (self.path_info.is_empty(), spelled) {
                (true, Some(spelled)) => normal(&decoded(spelled)).into_owned(),
                _ => self
                    .with_escapes_undone(sent, spelled)
                    .path_info
                    .into_owned(),
            }
        } else {
            let paths = self
                .with_escapes_undone(sent, spelled)
                .split(sent, spelled)
                .compared(sent, spelled);
            if !paths.script_name.is_empty() && !prefix.prefix().is_empty() {
                return Self::new(prefix.prefix(), paths.path_info, PathRule::ScriptName);
            }
            paths.joined().into_owned()
        };
        let below = prefix.rest(&path).map(<[u8]>::to_vec);
        let mut path_info = below.unwrap_or(path);
        if !is_path_info(&path_info) {
            path_info.insert(0, b'/');
        }
        Self::new(prefix.prefix(), path_info, PathRule::ScriptName)
    }

    /// Whether SCRIPT_NAME is the name of a prefix that a proxy in front has taken out of the URL, and not where a rewrite led to:
    /// for that SCRIPT_FILENAME ends so, or the name is a script's.
    fn is_stripped_prefix(&self, sent: &PathVariables<'_>, asked: &[u8], clean: &[u8]) -> bool {
        // Apache and lighttpd work SCRIPT_NAME out of the file, and so does who runs a program.
        let works_it_out = sent.is_apache() || sent.is_lighttpd() || sent.by_program;
        (sent.is_configured_by_hand() || !works_it_out)
            && !self.script_name.is_empty()
            && is_mount(&self.script_name)
            && !is_script(&self.script_name)
            && (*self.path_info == *clean || *self.path_info == *asked)
            && self.path_info.starts_with(b"/")
            && is_rewritten(clean, &self.script_name)
            && !sent.script_filename.ends_with(&self.script_name)
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

/// Whether a path begins with the letters of a mount, in upper or lower case.
fn begins_like(path: &[u8], mount: &[u8]) -> bool {
    path.get(..mount.len())
        .is_some_and(|front| front.eq_ignore_ascii_case(mount))
}

/// Whether this can be a mount: empty, or a path in which a web server has nothing to clean. Caddy and HAProxy split
/// `/x/../app/z` and `//app/z` as they come.
fn is_mount(path: &[u8]) -> bool {
    path.is_empty() || path.starts_with(b"/") && !path.ends_with(b"/") && is_normal(path)
}

fn is_path_info(path: &[u8]) -> bool {
    matches!(path, [] | [b'/', ..])
}

#[cfg(test)]
mod tests;

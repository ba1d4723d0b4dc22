//! What a web server has sent of a request's place, and which web server that is. What follows from it is in `paths`.

use super::url::position;

/// What decides, as sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PathVariables<'a> {
    pub(super) script_name: &'a [u8],
    pub(super) path_info: Option<&'a [u8]>,
    pub(super) request_uri: Option<&'a [u8]>,
    pub(super) script_filename: &'a [u8],
    pub(super) redirect_url: &'a [u8],
    pub(super) server_software: &'a [u8],
    /// Whether the web server ran a program for this request, so that SCRIPT_NAME can be where that program lies.
    pub(super) by_program: bool,
}

impl<'a> PathVariables<'a> {
    pub(super) fn is_apache(&self) -> bool {
        self.server_software.starts_with(b"Apache")
    }

    pub(super) fn is_nginx(&self) -> bool {
        self.server_software.starts_with(b"nginx")
    }

    pub(super) fn is_lighttpd(&self) -> bool {
        self.server_software.starts_with(b"lighttpd")
    }

    pub(super) fn is_caddy(&self) -> bool {
        self.server_software.starts_with(b"Caddy")
    }

    /// nginx sends what its configuration says, SERVER_SOFTWARE too; every other server has one.
    pub(super) fn is_configured_by_hand(&self) -> bool {
        self.is_nginx() || self.server_software.is_empty()
    }

    /// The path below the back end's URL in SCRIPT_FILENAME: `proxy:fcgi://host:port/path`, or the path alone where
    /// Apache's `ProxyFCGIBackendType GENERIC` is set.
    pub(super) fn below_the_backend(&self) -> &'a [u8] {
        let url = self
            .script_filename
            .strip_prefix(b"proxy:")
            .unwrap_or(self.script_filename);
        match position(url, b"://") {
            Some(scheme) => {
                let host = &url[scheme + 3..];
                let path = host.iter().position(|&byte| byte == b'/');
                path.map_or(b"", |path| &host[path..])
            }
            None => url,
        }
    }
}

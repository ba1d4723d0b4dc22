//! The rules by which `paths` makes SCRIPT_NAME and PATH_INFO of what a web server has sent.

/// What made SCRIPT_NAME and PATH_INFO what they are. The letters are those of the tests' tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// Nothing had to change.
    AsSent,
    /// A. Apache with `AllowEncodedSlashes NoDecode` leaves `%2F`, and only that, undecoded.
    EncodedSlash,
    /// A. nginx escapes what a pattern has caught when `set` puts it into a variable (`set $path_info $1`), and Apache
    /// leaves PATH_INFO as it was asked for with `proxy-fcgi-pathinfo=1`.
    Encoded,
    /// B. Apache went from the URL to a script by `RewriteRule` in a `.htaccess`, and Apache or lighttpd by
    /// `FallbackResource`, an error page or an index file: the mount is the folder in which the script lies.
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
    /// F. A front controller without PATH_INFO (Caddy's `php_fastcgi`, nginx's `try_files`, `fastcgi_index`), a path that was
    /// cut within a segment (Caddy's `split`), a whole URL as path (h2o), or no path at all: the URL's path is PATH_INFO.
    Whole,
    /// G. nginx's and Caddy's configurations can say `SCRIPT_NAME /app` beside a PATH_INFO that is the whole path (as in
    /// nginx's `uwsgi_params`), or beside none.
    NamedMount,
    /// A proxy in front has taken the prefix out of the URL, and the web server's configuration names it: `SCRIPT_NAME /s` beside a
    /// PATH_INFO that is the whole path, and no rewrite has led there.
    StrippedPrefix,
    /// The operator's `--mount`.
    Mount,
    /// The operator's `--script-name`.
    ScriptName,
    /// The request is not under `--mount`: the application does not see it.
    OutsideMount,
}

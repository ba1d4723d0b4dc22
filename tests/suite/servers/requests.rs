//! The one list of HTTP requests that every web server is sent, as bytes: what was seen to be told differently to CGI and FastCGI
//! programs from one server to the next (paths above all), and what applications live by.

/// A request, up to the server's port and the path that the application is mounted at.
#[derive(Debug)]
pub(crate) struct Request {
    /// What the tables of losses call it.
    pub(crate) name: &'static str,
    pub(crate) method: &'static str,
    /// Whether it makes sense only where the application has a path above it.
    pub(crate) below_a_mount: bool,
    text: Vec<u8>,
}

impl Request {
    /// The bytes to send to this port.
    pub(crate) fn bytes(&self, mount: &str, port: u16) -> Vec<u8> {
        let host = format!("site.example:{port}");
        let text = replace(&self.text, b"{mount}", mount.as_bytes());
        replace(&text, b"{host}", host.as_bytes())
    }
}

/// The list, which opens with what all else stands on.
pub(crate) fn requests() -> Vec<Request> {
    let mut list = paths();
    list.extend(below_a_mount());
    list.extend(fields());
    list.extend(bodies());
    list.extend(pages());
    list
}

/// `SCRIPT_NAME`, `PATH_INFO`, `QUERY_STRING`, `REQUEST_URI`.
#[rustfmt::skip]
fn paths() -> Vec<Request> {
    // In segments: a server that looks for a file refuses names of more than 255 bytes.
    let long = format!("{}?{}", "/twenty-four-bytes-of-it".repeat(100), "q".repeat(3000));
    vec![
        get("root", b"/"),
        get("trailing slash", b"/a/b/"),
        get("the mount's own name", b"/app/app"),
        get("space and query", b"/a%20b/c?x=1&y=%20"),
        get("encoded slash", b"/a%2Fb"),
        get("encoded encoded slash", b"/a%252Fb"),
        get("utf-8", b"/caf%C3%A9"),
        get("latin-1", b"/caf%E9/%FF"),
        get("utf-8 as it is", b"/caf\xc3\xa9"),
        get("double slashes", b"//double//slash/"),
        get("dots", b"/a/./b/../c"),
        get("encoded dots", b"/a/%2e%2e/c"),
        get("above the root", b"/a/../../../x"),
        get("encoded slashes above the root", b"/..%2f..%2fetc"),
        get("empty query", b"/?"),
        get("two question marks", b"/a?b?c=d?"),
        get("semicolons", b"/p;v=1?a;b"),
        get("plus", b"/a+b%2Bc?x=a+b%2B"),
        get("encoded percent", b"/a%2520b"),
        get("encoded question mark", b"/a%3Fb?c=d"),
        get("encoded hash and ampersand", b"/a%23b%26c=d"),
        get("line feed", b"/a%0Ab%0D%0Ac"),
        get("punctuation", b"/a:b@c!$'()*,~"),
        get("script in the path", b"/x.php/info.cgi/y?z=1"),
        get("query as it is", b"/q?a=%E9&b=\xe9&c='\"<>|{}^`[]"),
        get("query of words", b"/?foo+bar%20baz+-h"),
        get("long", long.as_bytes()),
        request("absolute target", "GET", b"http://other.example:99{mount}/abs?x=1", b"", b""),
    ]
}

fn below_a_mount() -> Vec<Request> {
    let mut list = vec![
        get("the mount itself", b""),
        get("the mount with a query", b"?x=1"),
        get("a name that begins like the mount", b"x/y"),
    ];
    for request in &mut list {
        request.below_a_mount = true;
    }
    list
}

/// `HTTP_*` and what else comes of the head.
#[rustfmt::skip]
fn fields() -> Vec<Request> {
    let cookie = format!("Cookie: long={}\r\n", "c".repeat(7000));
    let forged = b"Script-Name: /x\r\nPath-Info: /x\r\nHttps: on\r\nRemote-User: x\r\nStatus: 1\r\nRedirect-Status: 9\r\n";
    let forwarded = b"X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x.example\r\nForwarded: for=8.8.8.8\r\n";
    vec![
        with("field twice", b"X-Twice: one\r\nX-Twice: two\r\n"),
        with("cookie twice", b"Cookie: a=1\r\nCookie: b=2\r\n"),
        with("long cookie", cookie.as_bytes()),
        with("basic authorization", b"Authorization: Basic dXNlcjpwYXNz\r\n"),
        with("bearer authorization", b"Authorization: Bearer tok.en\r\n"),
        with("proxy", b"Proxy: http://evil.example/\r\nX-After: 1\r\n"),
        with("underscore", b"X_Under_Score: 1\r\nX-After: 1\r\n"),
        with("odd names", b"X.Dot: 1\r\nX!bang: 2\r\nX-After: 1\r\n"),
        with("bytes above 127", b"X-Latin: caf\xe9\r\nX-Utf: caf\xc3\xa9\r\n"),
        with("empty field", b"X-Empty:\r\nX-After: 1\r\n"),
        with("names of variables", forged),
        with("forwarded", forwarded),
        with("range and conditions", b"Range: bytes=0-1\r\nIf-None-Match: \"a\"\r\nAccept-Encoding: gzip\r\n"),
        Request { text: b"GET {mount}/told HTTP/1.1\r\nHost: Site.EXAMPLE\r\n\r\n".to_vec(), ..get("host without port", b"") },
        Request { text: b"GET {mount}/told HTTP/1.0\r\n\r\n".to_vec(), ..get("HTTP/1.0 without host", b"") },
    ]
}

/// What the application can read, and `CONTENT_LENGTH`, `CONTENT_TYPE`.
#[rustfmt::skip]
fn bodies() -> Vec<Request> {
    let form = b"Content-Type: application/x-www-form-urlencoded\r\n".as_slice();
    // mod_fcgid's limit is 128 KiB unless it is told otherwise.
    let large: Vec<u8> = (0..=250).cycle().take(128 * 1024 + 1).collect();
    let sized = |length: usize| [form, format!("Content-Length: {length}\r\n").as_bytes()].concat();
    let chunks = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n";
    vec![
        request("POST of nothing", "POST", b"{mount}/told", &sized(0), b""),
        request("POST of a byte", "POST", b"{mount}/told", &sized(1), b"x"),
        request("POST of 128 KiB and a byte", "POST", b"{mount}/told", &sized(large.len()), &large),
        request("POST without a type", "POST", b"{mount}/told", b"Content-Length: 3\r\n", b"abc"),
        request("POST of an empty type", "POST", b"{mount}/told", b"Content-Type:\r\nContent-Length: 3\r\n", b"abc"),
        request("POST in chunks", "POST", b"{mount}/told", &[form, b"Transfer-Encoding: chunked\r\n"].concat(), chunks),
        request("length with zeros", "POST", b"{mount}/told", b"Content-Type: text/x\r\nContent-Length: 0003\r\n", b"abc"),
        request("100-continue", "POST", b"{mount}/told", b"Content-Type: text/x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n", b"abc"),
        request("GET with a body", "GET", b"{mount}/told", b"Content-Type: text/x\r\nContent-Length: 3\r\n", b"abc"),
        request("PUT", "PUT", b"{mount}/told", b"Content-Type: text/x\r\nContent-Length: 3\r\n", b"abc"),
        request("DELETE", "DELETE", b"{mount}/told", b"", b""),
        request("OPTIONS", "OPTIONS", b"{mount}/told", b"", b""),
        request("PROPFIND", "PROPFIND", b"{mount}/told", b"Depth: 0\r\n", b""),
        request("HEAD", "HEAD", b"{mount}/told", b"", b""),
    ]
}

/// The application's answers.
fn pages() -> Vec<Request> {
    vec![
        get("redirect", b"/redirect"),
        get("created", b"/created"),
        get("no content", b"/no_content"),
        get("not modified", b"/not_modified"),
        get("unauthorized", b"/unauthorized"),
        get("missing", b"/missing"),
        get("failed", b"/failed"),
        get("part", b"/part"),
        get("cookies", b"/cookies"),
        get("long head", b"/long_head"),
        get("large", b"/large"),
        request("HEAD of large", "HEAD", b"{mount}/large", b"", b""),
    ]
}

fn get(name: &'static str, path: &[u8]) -> Request {
    request(name, "GET", &[b"{mount}", path].concat(), b"", b"")
}

fn with(name: &'static str, fields: &[u8]) -> Request {
    request(name, "GET", b"{mount}/told", fields, b"")
}

fn request(
    name: &'static str,
    method: &'static str,
    target: &[u8],
    fields: &[u8],
    body: &[u8],
) -> Request {
    let pieces: [&[u8]; 7] = [
        method.as_bytes(),
        b" ",
        target,
        b" HTTP/1.1\r\nHost: {host}\r\n",
        fields,
        b"\r\n",
        body,
    ];
    Request {
        name,
        method,
        below_a_mount: false,
        text: pieces.concat(),
    }
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let Some(at) = text.windows(from.len()).position(|window| window == from) else {
        return text.to_vec();
    };
    [&text[..at], to, &text[at + from.len()..]].concat()
}

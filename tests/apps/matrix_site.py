"""The site that the same requests are sent to through every web server. The last segment of the path chooses the page; most paths get
the one that says what the application was told."""

import zlib

ALWAYS = """REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI SERVER_NAME SERVER_PORT SERVER_PROTOCOL REMOTE_ADDR
    CONTENT_TYPE wsgi.url_scheme""".split()
# These may as well be missing as empty.
SOMETIMES = "REMOTE_USER AUTH_TYPE HTTPS".split()
TEXT = ("Content-Type", "text/plain; charset=utf-8")


def told(environ, start_response):
    """One variable a line, those of request fields too; and what could be read of the body."""
    names = [name for name in ALWAYS if name in environ] + [name for name in SOMETIMES if environ.get(name)]
    names += sorted(name for name in environ if name.startswith("HTTP_"))
    # Whether the server writes a host's name in lower case says nothing.
    environ["SERVER_NAME"] = environ["SERVER_NAME"].lower()
    page = [f"{name}={environ[name]!a}" for name in names]
    body = environ["wsgi.input"].read()
    # Without a body some servers say 0 and others nothing: PEP 3333 lets them.
    page.append(f"CONTENT_LENGTH={int(environ.get('CONTENT_LENGTH') or 0)}")
    page.append(f"body={len(body)} bytes, {zlib.crc32(body):08x}")
    page = "".join(line + "\n" for line in page).encode("ascii")
    start_response("200 OK", [TEXT, ("Content-Length", str(len(page)))])
    return [page]


def redirect(environ, start_response):
    start_response("303 See Other", [("Location", "/somewhere?else=1"), ("Content-Length", "0")])
    return []


def created(environ, start_response):
    start_response("201 Created", [("Location", "http://site.example/new"), TEXT, ("Content-Length", "4")])
    return [b"made"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"1"')])
    return []


def unauthorized(environ, start_response):
    start_response("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="x"'), TEXT, ("Content-Length", "3")])
    return [b"no\n"]


def missing(environ, start_response):
    start_response("404 Not Found", [TEXT, ("Content-Length", "8")])
    return [b"nothing\n"]


def failed(environ, start_response):
    start_response("503 Not now", [TEXT, ("Retry-After", "7"), ("Content-Length", "6")])
    return [b"later\n"]


def part(environ, start_response):
    start_response("206 Partial Content", [TEXT, ("Content-Range", "bytes 2-4/9"), ("Content-Length", "3")])
    return [b"cde"]


def cookies(environ, start_response):
    start_response("200 OK", [("Set-Cookie", "a=1; Path=/"), TEXT, ("Set-Cookie", "b=2"), ("Content-Length", "2")])
    return [b"ok"]


def long_head(environ, start_response):
    """More than nginx's usual buffer of 4 KiB for a head; a line of Apache's may have 8,190 bytes."""
    start_response("200 OK", [TEXT, ("X-Long", "v" * 7000), ("Content-Length", "2")])
    return [b"ok"]


def large(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [bytes(range(251)) * 100 for _ in range(40)]


def application(environ, start_response):
    page = PAGES.get(environ["PATH_INFO"].rpartition("/")[2], told)

    def marked(status, fields):
        """So that an answer of the web server's own, such as another 404, is known for what it is."""
        start_response(status, [*fields, ("X-Page", page.__name__)])

    return page(environ, marked)


PAGES = (redirect, created, no_content, not_modified, unauthorized, missing, failed, part, cookies, long_head, large)
PAGES = {page.__name__: page for page in PAGES}

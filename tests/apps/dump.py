"""Shows environ as the application sees it: `NAME=ascii(value)`, one a line, sorted."""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def _lines(pairs):
    return ["".join(f"{name}={ascii(value)}\n" for name, value in sorted(pairs)).encode("ascii")]


def values(environ, start_response):
    start_response("200 OK", TEXT[:])
    return _lines((str(name), value) for name, value in environ.items())


def types(environ, start_response):
    """PEP 3333: environ is a builtin dict, its CGI variables are native strings."""
    start_response("200 OK", TEXT[:])
    pairs = [(name, type(value).__name__) for name, value in environ.items()]
    pairs.append(("type(environ)", type(environ).__name__ if type(environ) is dict else "not dict"))
    pairs.append(("type(name)", sorted({type(name).__name__ for name in environ})))
    return _lines(pairs)


def spoils(environ, start_response):
    """PEP 3333: the application may change environ in any way. The next request must not see it."""
    seen = [name for name in environ if name.startswith("spoiled")]
    missing = "REQUEST_METHOD" not in environ
    length = len(environ)
    environ["spoiled.key"] = "spoiled"
    environ["HTTP_USER_AGENT"] = "spoiled"
    environ["wsgi.version"] = "spoiled"
    agent = environ.pop("HTTP_ACCEPT", None)
    for name in list(environ):
        if not name.startswith("spoiled"):
            del environ[name]
    start_response("200 OK", TEXT[:])
    return [f"{seen} {missing} {length} {agent}".encode()]


def rebuilt_url(environ, start_response):
    """The PEP's recipe for the URL of the request, as the standard library has it."""
    from wsgiref.util import application_uri, request_uri

    start_response("200 OK", TEXT[:])
    return [f"{application_uri(environ)} {request_uri(environ)}".encode("latin-1")]


def process(environ, start_response):
    """What os.environ holds, beside what came with the request."""
    import os

    start_response("200 OK", TEXT[:])
    return _lines(os.environ.items())


application = by_name(globals())

"""The site behind nginx: one behaviour a path."""

# Of prime length, so that a block that is lost, doubled or moved shifts what comes after it.
PATTERN = bytes(range(251))


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"Hello"]


def variables(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = environ["HTTP_X_NAMES"].split()
    return ["".join(f"{name}={environ.get(name)!a}\n" for name in names).encode()]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def large(environ, start_response):
    start_response("200 OK", [])
    length = int(environ["QUERY_STRING"])
    while length > 0:
        yield PATTERN[:length]
        length -= len(PATTERN)


def blocks(environ, start_response):
    start_response("200 OK", [])
    yield b"one"
    with open(environ["QUERY_STRING"], "rb") as fifo:
        yield fifo.read()


def piecewise(environ, start_response):
    length = int(environ["QUERY_STRING"])
    first = environ["wsgi.input"].read(length)
    print("read the first", len(first), file=environ["wsgi.errors"], flush=True)
    start_response("200 OK", [])
    return [b"%d" % len(environ["wsgi.input"].read())]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"1"'), ("Content-Length", "5")])
    return [b"Hello"]


def fails(environ, start_response):
    raise RuntimeError("failed on purpose")


def breaks(environ, start_response):
    length = environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Length", length)] if length else [])
    yield b"a beginning"
    raise RuntimeError("broke on purpose")


class Endless:
    def __init__(self, environ, start_response):
        self.errors = environ["wsgi.errors"]
        start_response("200 OK", [])

    def __iter__(self):
        while True:
            yield PATTERN * 100

    def close(self):
        print("the endless page was closed", file=self.errors)


def application(environ, start_response):
    page = environ["PATH_INFO"].split("/")[1]
    return PAGES[page](environ, start_response)


PAGES = {page.__name__: page for page in (hello, variables, echo, large, blocks, piecewise, no_content)}
PAGES |= {page.__name__: page for page in (not_modified, fails, breaks)}
PAGES["endless"] = Endless

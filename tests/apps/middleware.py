"""Middleware around middleware around an application: each one changes the head, the body and environ."""


def application(environ, start_response):
    body = environ["test.trail"].encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Inner", "yes")])
    yield body
    yield b" end"


class Adds:
    """Adds a header and a word, and closes what it wraps."""

    def __init__(self, inner, word):
        self.inner = inner
        self.word = word

    def __call__(self, environ, start_response):
        environ["test.trail"] = environ.get("test.trail", "") + self.word + " "

        def start(status, headers, exc_info=None):
            return start_response(status, headers + [("X-Passed", self.word)], exc_info)

        inner = self.inner(environ, start)
        try:
            for block in inner:
                yield block
        finally:
            if hasattr(inner, "close"):
                inner.close()


class Upper:
    """Changes the blocks one by one, as PEP 3333 asks of middleware, and passes write() through."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, environ, start_response):
        def start(status, headers, *exc_info):
            write = start_response(status, headers, *exc_info)
            return lambda data: write(data.upper())

        return map(bytes.upper, self.inner(environ, start))


application = Upper(Adds(Adds(application, "inner"), "outer"))

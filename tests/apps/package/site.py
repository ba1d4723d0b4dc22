"""An application inside a package, with a relative import."""

from . import words


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [words.HELLO]


class Holder:
    inner = staticmethod(application)


holder = Holder()

"""Every kind of object that PEP 3333 allows as an application ("a callable object that accepts two arguments")."""

import functools

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def function(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [b"function"]


class Callable:
    def __call__(self, environ, start_response):
        start_response("200 OK", TEXT[:])
        return [b"instance"]

    def bound(self, environ, start_response):
        start_response("200 OK", TEXT[:])
        return [b"method"]

    @staticmethod
    def unbound(environ, start_response):
        start_response("200 OK", TEXT[:])
        return [b"static"]


class Class:
    """The PEP's AppClass: calling it makes the iterable, and start_response is called by `__iter__`."""

    def __init__(self, environ, start_response):
        self.environ = environ
        self.start = start_response

    def __iter__(self):
        self.start("200 OK", TEXT[:])
        yield b"class"


def generator(environ, start_response):
    start_response("200 OK", TEXT[:])
    yield b"gene"
    yield b"rator"


def _three(word, environ, start_response):
    start_response("200 OK", TEXT[:])
    return [word]


def arguments(*args, **kwargs):
    """PEP 3333: the application is invoked with two positional arguments."""
    args[1]("200 OK", TEXT[:])
    return [b"%d positional, %d named" % (len(args), len(kwargs))]


def other_names(e, /, sr):
    sr("200 OK", TEXT[:])
    return [b"other names"]


instance = Callable()
method = instance.bound
static = Callable.unbound
partial = functools.partial(_three, b"partial")
anonymous = lambda environ, start_response: (start_response("200 OK", TEXT[:]), [b"lambda"])[1]  # noqa: E731

application = by_name({**globals(), "class": Class, "lambda": anonymous})

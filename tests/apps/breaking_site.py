"""Answers that ask much of a web server: large reports, pages that break off, heads of all sizes. The query is a length."""

import os
import signal
import sys

TEXT = ("Content-Type", "text/plain")


def hello(environ, start_response, length):
    start_response("200 OK", [TEXT, ("Content-Length", "5")])
    return [b"Hello"]


def reports(environ, start_response, length):
    """To wsgi.errors, in one piece before the page and in many during it."""
    environ["wsgi.errors"].write("e" * length + "\n")
    start_response("200 OK", [TEXT])
    for _ in range(10):
        environ["wsgi.errors"].write("f" * (length // 10) + "\n")
        yield b"ten bytes\n"


def only_reports(environ, start_response, length):
    environ["wsgi.errors"].write("e" * length + "\n")
    start_response("200 OK", [TEXT])
    return []


def empty(environ, start_response, length):
    start_response("200 OK", [TEXT])
    return []


def nothing(environ, start_response, length):
    start_response("204 No Content", [])
    return []


def long_head(environ, start_response, length):
    start_response("200 OK", [TEXT, ("X-Long", "v" * length), ("Content-Length", "2")])
    return [b"ok"]


def fails(environ, start_response, length):
    raise RuntimeError("failed on purpose")


def exits(environ, start_response, length):
    sys.exit("exit on purpose")


def never_starts(environ, start_response, length):
    return [b"without a head"]


def breaks(environ, start_response, length):
    start_response("200 OK", [TEXT])
    yield b"x" * length
    raise RuntimeError("broke on purpose")


def breaks_later(environ, start_response, length):
    """When the test lets go of the named pipe."""
    start_response("200 OK", [TEXT])
    yield b"x" * length
    with open(environ["HTTP_X_PIPE"]) as pipe:
        pipe.read()
    raise RuntimeError("broke on purpose")


def breaks_a_promise(environ, start_response, length):
    start_response("200 OK", [TEXT, ("Content-Length", str(2 * length))])
    yield b"x" * length
    raise RuntimeError("broke on purpose")


def breaks_a_promise_later(environ, start_response, length):
    """As breaks_later."""
    start_response("200 OK", [TEXT, ("Content-Length", str(2 * length))])
    yield b"x" * length
    with open(environ["HTTP_X_PIPE"]) as pipe:
        pipe.read()
    raise RuntimeError("broke on purpose")


def breaks_when_whole(environ, start_response, length):
    start_response("200 OK", [TEXT, ("Content-Length", str(length))])
    yield b"x" * length
    raise RuntimeError("broke on purpose")


def falls_short(environ, start_response, length):
    """One block at a time, so that the head has left when its promise turns out to be none."""
    start_response("200 OK", [TEXT, ("Content-Length", str(2 * length))])
    yield b"x" * length


def too_little(environ, start_response, length):
    start_response("200 OK", [TEXT, ("Content-Length", str(2 * length))])
    return [b"x" * length]


def too_much(environ, start_response, length):
    start_response("200 OK", [TEXT, ("Content-Length", str(length))])
    return [b"x" * (2 * length)]


def dies(environ, start_response, length):
    os.kill(os.getpid(), signal.SIGKILL)


def dies_later(environ, start_response, length):
    start_response("200 OK", [TEXT])
    yield b"x" * length
    os.kill(os.getpid(), signal.SIGKILL)


def dies_with_a_promise(environ, start_response, length):
    start_response("200 OK", [TEXT, ("Content-Length", str(2 * length))])
    yield b"x" * length
    os.kill(os.getpid(), signal.SIGKILL)


def waits(environ, start_response, length):
    """Until the test lets go of the named pipe."""
    start_response("200 OK", [TEXT])
    with open(environ["HTTP_X_PIPE"]) as pipe:
        pipe.read()
    return [b"waited"]


def reports_and_waits(environ, start_response, length):
    environ["wsgi.errors"].write(f"report of {length} {'e' * length}\n")
    environ["wsgi.errors"].flush()
    return waits(environ, start_response, length)


def application(environ, start_response):
    page = globals()[environ["PATH_INFO"].strip("/")]
    return page(environ, start_response, int(environ["QUERY_STRING"] or 0))

"""Requests that a worker has to outlive. The path picks one; the query is its argument."""

import os
import resource
import sys
import threading
import time

TEXT = [("Content-Type", "text/plain")]
MIB = 1024 * 1024

both = threading.Barrier(2, timeout=20)


class Talkative(OSError):
    """Somebody's own exception, which reports on itself."""

    def __init__(self, errors):
        self.errors = errors

    def __str__(self):
        self.errors.write("__str__ was called\n")
        self.errors.flush()
        return "talkative"


def until_the_client_has_left(write, fifo):
    write(b"x")
    with open(fifo, "rb") as word:
        word.read()
    try:
        for _ in range(100):
            write(b"x" * 10_000)
    except OSError:
        return
    raise AssertionError("the client is still there")


def talkative(environ, start_response):
    until_the_client_has_left(start_response("200 OK", TEXT), environ["QUERY_STRING"])
    raise Talkative(environ["wsgi.errors"])


def reporting_on(environ, start_response):
    """50 MB to wsgi.errors when nobody is there to hear it: half of it in lines, half of it in none."""
    until_the_client_has_left(start_response("200 OK", TEXT), environ["QUERY_STRING"])
    line = "y" * 99_999
    for _ in range(250):
        environ["wsgi.errors"].write(line + "\n")
    for _ in range(250):
        environ["wsgi.errors"].write(line)
    return []


def dots(environ, start_response):
    for _ in range(int(environ["QUERY_STRING"])):
        environ["wsgi.errors"].write(".")
    start_response("200 OK", TEXT)
    return [b"done"]


def limit_memory(environ, start_response):
    """From now on this process may have only so many MiB more than it has: ulimit -v, in the middle."""
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + int(environ["QUERY_STRING"]) * MIB, resource.RLIM_INFINITY))
    start_response("200 OK", TEXT)
    return [b"limited"]


def reading(read):
    """Says how it went, unless the query wants the error to leave the application."""

    def page(environ, start_response):
        try:
            body = b"%d bytes" % read(environ["wsgi.input"])
        except MemoryError:
            if environ["QUERY_STRING"]:
                raise
            body = b"MemoryError"
        start_response("200 OK", TEXT)
        return [body]

    return page


def deep(environ, start_response):
    """Recursion through C code, which takes the C stack, on two threads at once."""
    both.wait()
    sys.setrecursionlimit(1_000_000)

    def descend(levels):
        return 0 if levels == 0 else max([levels], key=lambda _: descend(levels - 1))

    try:
        descend(int(environ["QUERY_STRING"]))
        how = "there"
    except RecursionError:
        # Python 3.12 and later count levels of C code themselves.
        how = "there, says Python"
    both.wait()
    body = f"{how} {threading.get_ident()}".encode()
    start_response("200 OK", TEXT)
    return [body]


def slow(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    start_response("200 OK", TEXT)
    return [b"slept"]


def failing(environ, start_response):
    raise RuntimeError("this page fails")


def waiting(environ, start_response):
    with open(environ["QUERY_STRING"], "rb") as fifo:
        fifo.read()
    start_response("200 OK", TEXT + [("Content-Length", "6")])
    return [b"waited"]


def mixed(environ, start_response):
    """Blocks as `y` (yielded), `w` (written in between) and a size each; the ones before `,` are written first."""
    first, _, rest = environ["QUERY_STRING"].partition(",")
    write = start_response("200 OK", TEXT)
    number = 0

    def block(size):
        nonlocal number
        number += 1
        return b"%c" % (97 + number % 26) * int(size)

    for size in first.split("."):
        write(block(size[1:]))

    def blocks():
        for word in rest.split("."):
            if word[0] == "w":
                write(block(word[1:]))
            else:
                yield block(word[1:])

    return blocks()


def alive(environ, start_response):
    start_response("200 OK", TEXT)
    return [b"alive %d" % os.getpid()]


PAGES = {
    "/talkative": talkative,
    "/reporting-on": reporting_on,
    "/dots": dots,
    "/limit-memory": limit_memory,
    "/read": reading(lambda body: len(body.read())),
    "/read-some": reading(lambda body: len(body.read(1 << 40))),
    "/line": reading(lambda body: len(body.readline())),
    "/lines": reading(lambda body: sum(map(len, body))),
    "/deep": deep,
    "/slow": slow,
    "/waiting": waiting,
    "/mixed": mixed,
}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    page = failing if path.startswith("/failing") else PAGES.get(path, alive)
    return page(environ, start_response)

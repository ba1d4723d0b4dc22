"""Responses of every kind, of as many bytes as the query says, for peers that are in no hurry. /plain is what others ask for
meanwhile. What is left of the log's reader to wait for is written to sys.stderr."""

import os
import sys

PATTERN = bytes(range(251)) * 4178
SHARED = {}


def _bytes(size):
    return (PATTERN * (size // len(PATTERN) + 1))[:size]


def _mark(what):
    sys.stderr.write(f"mark: {what}\n")
    sys.stderr.flush()


class Marked:
    """An iterable whose close() leaves a mark."""

    def __init__(self, name, blocks):
        self.name = name
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        _mark(f"closed {self.name}")


def _endless():
    block = _bytes(100_000)
    while True:
        yield block


def _failing(size):
    yield _bytes(size)
    raise RuntimeError("on purpose")


def _and_small_ones(size):
    yield _bytes(size)
    for _ in range(100):
        yield b"</html>"


def application(environ, start_response):
    kind, query = environ["PATH_INFO"].lstrip("/"), environ["QUERY_STRING"]
    headers = [("Content-Type", "application/octet-stream")]
    if kind == "plain":
        start_response("200 OK", headers)
        return [b"plain"]
    if kind == "file":
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(query, "rb"))
    if kind == "sized":
        headers.append(("Content-Length", str(os.path.getsize(query))))
        start_response("200 OK", headers)
        return environ["wsgi.file_wrapper"](open(query, "rb"))
    size = int(query or 0)
    if kind in ("list", "tuple", "shared"):
        headers.append(("Content-Length", str(size)))
    if kind == "cut":
        headers.append(("Content-Length", str(size // 2)))
    write = start_response("200 OK", headers)
    if kind == "tuple":
        half = size // 2
        return (_bytes(half), _bytes(size)[half:])
    if kind == "shared":
        return [SHARED.setdefault(size, _bytes(size))]
    if kind == "write":
        write(_bytes(size))
        return Marked(kind, [])
    if kind == "last":
        return Marked(kind, (_bytes(size) for _ in range(1)))
    if kind == "small":
        return Marked(kind, _and_small_ones(size))
    if kind == "two":
        half = size // 2
        return Marked(kind, (block for block in (_bytes(half), _bytes(size)[half:])))
    if kind == "endless":
        return Marked(kind, _endless())
    if kind == "failing":
        return Marked(kind, _failing(size))
    if kind == "chatty":
        errors = environ["wsgi.errors"]
        for _ in range(size // 1000):
            errors.write("e" * 999 + "\n")
        errors.flush()
        return [b"chatty"]
    return [_bytes(size)]

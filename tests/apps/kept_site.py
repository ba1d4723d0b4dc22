"""A site that stays alive between requests, behind web servers that start a program for each."""

import os
import zlib

from by_name import by_name
from closing import endless  # noqa: F401
from streaming import blocks  # noqa: F401

TEXT = [("Content-Type", "text/plain")]


def who(environ, start_response):
    """Which process this is, and whether it is to answer once."""
    start_response("200 OK", TEXT[:])
    return [f"{os.getpid()} {environ['wsgi.run_once']}".encode()]


def sum(environ, start_response):
    """What has come of the body, read in pieces."""
    length = crc = 0
    while piece := environ["wsgi.input"].read(65_000):
        length += len(piece)
        crc = zlib.crc32(piece, crc)
    start_response("200 OK", TEXT[:])
    return [f"{length} {crc:08x}".encode()]


def reports(environ, start_response):
    """200 KB each, which is more than a pipe holds, before the head and behind it."""
    environ["wsgi.errors"].write(f"before{'.' * 93}\n" * 2_000)
    start_response("200 OK", TEXT[:])
    yield b"reported"
    environ["wsgi.errors"].write(f"behind{'.' * 93}\n" * 2_000)
    yield b" twice"


def fails(environ, start_response):
    raise RuntimeError("failed on purpose")


application = by_name(globals())

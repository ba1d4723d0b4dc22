"""Applications without a framework: each does one thing that a gateway has to be good at. See works.py for what they stand for."""

import os
import time
from wsgiref.util import FileWrapper

GREETING = b"Hello, world!\n"
BLOCK = b"x" * 99 + b"\n"
LARGE = b"x" * 4_000_000


def _answer(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def hello(environ, start_response):
    return _answer(start_response, GREETING)


def file(environ, start_response):
    opened = open(os.environ["BENCH_FILE"], "rb")
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(os.fstat(opened.fileno()).st_size))])
    # Not every server has the PEP's optional wrapper; frameworks do the same then.
    return environ.get("wsgi.file_wrapper", FileWrapper)(opened, 65536)


def post(environ, start_response):
    return _answer(start_response, b"%d\n" % len(environ["wsgi.input"].read()))


def generator(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return (BLOCK for _ in range(100))


def mixed(environ, start_response):
    """Quick, but for two paths: one that takes its time, and one with a long answer."""
    path = environ["PATH_INFO"]
    if path.endswith("/slow"):
        time.sleep(0.9)
    if path.endswith("/large"):
        return _answer(start_response, LARGE)
    return _answer(start_response, GREETING)

"""Writes JSON to standard output and error, as the query says: a line of so many bytes by each, or half a line and dies, or what is no text."""

import json
import os
import sys


def application(environ, start_response):
    what, _, number = environ["QUERY_STRING"].partition("=")
    if what == "lines":
        for stream in (sys.stdout, sys.stderr):
            print(json.dumps({"pid": os.getpid(), "data": "x" * int(number)}), file=stream, flush=True)
    elif what == "half":
        os.write(2, b'{"half": 1}')
        os.kill(os.getpid(), 9)
    elif what == "bytes":
        os.write(1, b'\xff\x1b[31m"\\\0\x7f\r\n')
        environ["wsgi.errors"].write('"quoted" \x1b\u2028 \\ \U0001f600\ttab\n')
        raise ValueError('two\nlines "\x00"')
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"written"]

"""A CGI gateway after the example in PEP 3333, to compare the gateway's output with, byte for byte.

Run as `python3 run_with_cgi.py module:attribute` in the application's folder. Of the PEP's example it keeps what can be
seen from outside: "Status: " first, the headers as given, CRLF line ends, an empty line, and each block as it comes.
"""

import importlib
import os
import sys


def run(application):
    environ = {name.decode("latin-1"): value.decode("latin-1") for name, value in os.environb.items()}
    environ["wsgi.version"] = (1, 0)
    environ["wsgi.url_scheme"] = "https" if environ.get("HTTPS", "off") in ("on", "1") else "http"
    environ["wsgi.input"] = sys.stdin.buffer
    environ["wsgi.errors"] = sys.stderr
    environ["wsgi.multithread"] = False
    environ["wsgi.multiprocess"] = True
    environ["wsgi.run_once"] = True
    out = open(1, "wb", buffering=0, closefd=False)
    head = []
    sent = []

    def write(data):
        if not head:
            raise AssertionError("write() before start_response()")
        if not sent:
            sent.append(True)
            status, headers = head
            lines = ["Status: " + status] + [f"{name}: {value}" for name, value in headers]
            out.write("".join(line + "\r\n" for line in lines + [""]).encode("latin-1"))
        whole = memoryview(data)
        while whole:
            whole = whole[out.write(whole) :]

    def start_response(status, headers, exc_info=None):
        if exc_info:
            try:
                if sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif head:
            raise AssertionError("Headers already set!")
        head[:] = [status, headers]
        return write

    result = application(environ, start_response)
    try:
        for block in result:
            if block:
                write(block)
        if not sent:
            write(b"")
    finally:
        if hasattr(result, "close"):
            result.close()


if __name__ == "__main__":
    module, _, attribute = sys.argv[1].partition(":")
    sys.path.insert(0, os.getcwd())
    run(getattr(importlib.import_module(module), attribute))

"""Sets SIGPIPE back to what programs of the shell have, as its import; then answers with more than sockets hold."""

import signal
import tempfile

signal.signal(signal.SIGPIPE, signal.SIG_DFL)

MEGABYTE = b"z" * 1_000_000


def application(environ, start_response):
    path = environ["PATH_INFO"]
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if path == "/list":
        return [MEGABYTE] * 8
    if path == "/generator":
        return (MEGABYTE for _ in range(8))
    if path == "/write":
        for _ in range(8):
            write(MEGABYTE)
        return []
    if path == "/file":
        file = tempfile.TemporaryFile()
        file.write(MEGABYTE * 8)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file)
    return [b"alive"]

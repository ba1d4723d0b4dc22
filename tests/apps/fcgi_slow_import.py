"""An import that takes its time: it waits at the FIFO that the process's environment names."""

import os

with open(os.environ["FCGI_TEST_FIFO"], "rb") as fifo:
    fifo.read()


def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "0")])
    return []

"""Blocks a signal as its import, for the thread that imports it."""

import signal

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"answered"]

"""Gives every signal back what it did at the start of a process, as some libraries do it before they start programs."""

import signal
import time


def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        for number in signal.valid_signals():
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_DFL)
        time.sleep(0.5)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"alive"]

"""Takes a tenth of a second of processor time for each request, and tells which process did."""

import os
import time


def application(environ, start_response):
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]

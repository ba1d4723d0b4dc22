"""Answers with how many variables there are, how long HTTP_X is, and how much room the largest `environ` of the process takes."""

import gc
import sys


def application(environ, start_response):
    dicts = [it for it in gc.get_objects() if type(it) is dict and "wsgi.multithread" in it]
    room = max((sys.getsizeof(it) for it in dicts if it is not environ), default=0)
    headers = [("X-Many", "v")] * int(environ.get("HEADERS", 0))
    start_response("200 OK", [("Content-Type", "text/plain"), *headers])
    return [f"{len(environ)} {len(environ.get('HTTP_X', ''))} {room}".encode()]

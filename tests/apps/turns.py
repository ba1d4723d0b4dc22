"""Remembers in which order it was asked, by the query of each request, and tells that at /order; /hold?FIFO waits
there.

Every answer takes so long that who was answered asks again before the next one is.
"""

import time

asked = []


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    body = b""
    if path == "/hold":
        with open(query, "rb") as fifo:
            fifo.read()
    elif path == "/order":
        body = " ".join(asked).encode()
    else:
        asked.append(query)
        time.sleep(0.001)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

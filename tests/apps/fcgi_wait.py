"""Waits at the FIFO that the query names, until the test opens it; answers with what it reads there.

Without a query it answers at once.
"""


def application(environ, start_response):
    body = b"at once"
    if environ["QUERY_STRING"]:
        with open(environ["QUERY_STRING"], "rb") as fifo:
            body = fifo.read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

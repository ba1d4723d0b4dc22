"""One of several hosts that serve the same site: says which one it is."""

import os


def application(environ, start_response):
    body = environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/wait":
        # Until the test lets go of the named pipe.
        with open(environ["QUERY_STRING"]) as pipe:
            pipe.read()
    page = b"%s, %d bytes" % (os.environb[b"TEST_HOST"], len(body))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(page)))])
    return [page]

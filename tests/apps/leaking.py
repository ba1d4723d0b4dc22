"""Keeps one MiB of memory more at each request."""

kept = []


def application(environ, start_response):
    kept.append(bytearray(b"x") * (1024 * 1024))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"kept"]

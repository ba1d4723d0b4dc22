"""Fails when the head and a part of the body are out."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"the first half, "
    raise RuntimeError("in the middle")

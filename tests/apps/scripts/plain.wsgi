"""A file as mod_wsgi's users have it: beside its own modules, with an ending that Python does not import."""

import neighbour


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [neighbour.WORD, b" ", __file__.encode()]


def second(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"second"]

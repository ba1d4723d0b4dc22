"""Writes as many bytes to wsgi.errors as the query says, in one write, then answers."""


def application(environ, start_response):
    environ["wsgi.errors"].write("e" * int(environ["QUERY_STRING"]))
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]

"""Leaves a file to the web server, in the header that the query names. The path says what else such applications send: a Content-Length of
the nothing that they yield, or a page for servers that know no such header."""

from urllib.parse import parse_qsl


def application(environ, start_response):
    [(name, value)] = parse_qsl(environ["QUERY_STRING"])
    fields = [("Content-Type", "application/x-test"), ("Set-Cookie", "got=it"), (name, value)]
    if environ["PATH_INFO"] == "/counted":
        fields.append(("Content-Length", "0"))
    start_response("200 OK", fields)
    return [b"not this"] if environ["PATH_INFO"] == "/paged" else []

"""As many bytes as the query says, in blocks of 64 KiB that are never in memory together."""

BLOCK = bytes(range(256)) * 256


def application(environ, start_response):
    size = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Length", str(size))])
    while size > 0:
        yield BLOCK[:size]
        size -= len(BLOCK)

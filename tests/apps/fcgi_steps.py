"""Yields a block, waits at the FIFO that the query names, yields what it reads there."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first "
    with open(environ["QUERY_STRING"], "rb") as fifo:
        yield fifo.read()

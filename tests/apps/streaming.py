"""Proves that no block is held back: each one is followed by a wait for the client's word.

The query names a FIFO. The client writes one byte into it for every block that it has seen, so a gateway that
holds a block back never gets to the next one.
"""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


class Word:
    def __init__(self, environ):
        self.fifo = open(environ["QUERY_STRING"], "rb", buffering=0)

    def wait(self):
        self.fifo.read(1)

    def close(self):
        self.fifo.close()


def blocks(environ, start_response):
    word = Word(environ)
    start_response("200 OK", TEXT[:])
    yield b"first,"
    word.wait()
    yield b"second,"
    word.wait()
    word.close()
    yield b"third"


def writes(environ, start_response):
    word = Word(environ)
    write = start_response("200 OK", TEXT[:])
    write(b"first,")
    word.wait()
    write(b"second,")
    word.wait()
    word.close()
    return [b"third"]


application = by_name(globals())

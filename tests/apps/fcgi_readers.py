"""Ways of reading a body that may break off, and of answering while it comes.

Whatever runs for the path /smuggled says so in the log.
"""

import threading
import time

TEXT = [("Content-Type", "text/plain")]


def at_once(source):
    return source.read()


def in_pieces(source):
    return b"".join(iter(lambda: source.read(1000), b""))


def in_large_pieces(source):
    return b"".join(iter(lambda: source.read(100_000), b""))


def read1(source):
    return b"".join(iter(source.read1, b""))


def in_lines(source):
    return b"".join(source)


def readinto(source):
    whole, piece = b"", bytearray(50_000)
    while count := source.readinto(piece):
        whole += piece[:count]
    return whole


def stubbornly(source):
    """Does not take an error for an answer."""
    failed = 0
    for _ in range(5):
        try:
            source.read()
        except OSError:
            failed += 1
    return b"failed %d of 5" % failed


def in_a_thread(source):
    found = []

    def read():
        try:
            found.append(source.read())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


READERS = {
    read.__name__: read
    for read in (at_once, in_pieces, in_large_pieces, read1, in_lines, readinto, stubbornly, in_a_thread)
}


def raised(read, environ, start_response):
    """The error is the gateway's to answer."""
    body = read(environ["wsgi.input"])
    start_response("200 OK", TEXT[:])
    return [body]


def caught(read, environ, start_response):
    """The application answers all the same."""
    try:
        body = read(environ["wsgi.input"])
    except OSError:
        body = b"caught"
    start_response("200 OK", TEXT[:])
    return [body]


def begun(read, environ, start_response):
    """The head and a block have left before the error."""
    start_response("200 OK", TEXT[:])
    yield b"begun,"
    yield read(environ["wsgi.input"])


def begun_and_caught(read, environ, start_response):
    start_response("200 OK", TEXT[:])
    yield b"begun,"
    try:
        yield read(environ["wsgi.input"])
    except OSError:
        yield b"caught"


ANSWERS = {answer.__name__: answer for answer in (raised, caught, begun, begun_and_caught)}


class Endless:
    """Yields until it is stopped; close() leaves a line in the file that the query names."""

    def __init__(self, mark, block, pause):
        self.mark, self.block, self.pause = mark, block, pause

    def __iter__(self):
        while True:
            yield self.block
            if self.pause:
                time.sleep(self.pause)

    def close(self):
        with open(self.mark, "a") as mark:
            mark.write("closed\n")


def endless(environ, start_response):
    kinds = {
        "slow": (b"x", 0.01),
        "fast": (b"x" * 100, 0),
        "large": (b"x" * 1_000_000, 0),
    }
    start_response("200 OK", TEXT[:])
    return Endless(environ["QUERY_STRING"], *kinds[environ["PATH_INFO"].split("/")[2]])


def endless_write(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    body = Endless(environ["QUERY_STRING"], b"x" * 100, 0.01)
    try:
        for block in body:
            write(block)
    finally:
        body.close()


def many(environ, start_response):
    """As many blocks as the query says, fast enough to leave together."""
    start_response("200 OK", TEXT[:])
    for number in range(int(environ["QUERY_STRING"])):
        yield b"%099d\n" % number


def many_a_piece(environ, start_response):
    """The same for each kilobyte of the body that comes."""
    start_response("200 OK", TEXT[:])
    while environ["wsgi.input"].read(1000):
        for number in range(int(environ["QUERY_STRING"])):
            yield b"%099d\n" % number


OTHERS = {other.__name__: other for other in (endless, endless_write, many, many_a_piece)}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    print("serving", path, environ.get("REMOTE_USER", ""), file=environ["wsgi.errors"])
    name = path.split("/")[1]
    if name in OTHERS:
        return OTHERS[name](environ, start_response)
    if name in ANSWERS:
        return ANSWERS[name](READERS[path.split("/")[2]], environ, start_response)
    start_response("200 OK", TEXT[:])
    return [path.encode()]

"""wsgi.file_wrapper with everything that people put into it. The query names the file to send.

Files in the tests hold `0123456789` again and again, so a wrong offset shows.
"""

import gzip
import io
import os
import tempfile

from by_name import by_name

PLAIN = [("Content-Type", "application/octet-stream")]


def _sends(opened, headers=(), block_size=8192):
    def application(environ, start_response):
        start_response("200 OK", PLAIN + list(headers))
        return environ["wsgi.file_wrapper"](opened(environ["QUERY_STRING"]), block_size)

    return application


def _after(count):
    def opened(name):
        file = open(name, "rb")
        file.read(count)
        return file

    return opened


class OnlyRead:
    """PEP 3333 asks of the object no more than a read() method with an optional size."""

    def __init__(self, name):
        self.file = io.BytesIO(open_bytes(name))

    def read(self, size=-1):
        return self.file.read(size)


def open_bytes(name):
    with open(name, "rb") as file:
        return file.read()


class Marked(io.FileIO):
    """A real file whose close() leaves a mark beside it."""

    def close(self):
        if not self.closed:
            with open(self.name + ".closed", "a") as mark:
                mark.write("closed\n")
        super().close()


def _zipped(name):
    packed = io.BytesIO(gzip.compress(open_bytes(name)))
    return gzip.GzipFile(fileobj=packed)


def _zipped_file(name):
    """GzipFile has a fileno(): that of the compressed file."""
    with gzip.open(name + ".gz", "wb") as packed:
        packed.write(open_bytes(name))
    return gzip.open(name + ".gz")


def _temporary(make):
    def opened(name):
        file = make()
        file.write(open_bytes(name))
        file.seek(0)
        return file

    return opened


def _pipe(name):
    """Has a fileno(), and neither a size nor an offset."""
    reader, writer = os.pipe()
    os.write(writer, open_bytes(name)[:4096])
    os.close(writer)
    return os.fdopen(reader, "rb")


def _appended(name):
    """Opened for reading and writing, its last bytes still in Python's buffer."""
    file = open(name, "r+b")
    file.seek(0, os.SEEK_END)
    file.write(b"the end")
    file.seek(0)
    return file


plain = _sends(lambda name: open(name, "rb"))
unbuffered = _sends(lambda name: open(name, "rb", buffering=0))
default_block_size = _sends(lambda name: open(name, "rb"))
tiny_blocks = _sends(lambda name: open(name, "rb"), block_size=7)
after_five = _sends(_after(5))
after_all = _sends(_after(-1))
bytes_io = _sends(lambda name: io.BytesIO(open_bytes(name)))
only_read = _sends(OnlyRead)
zipped = _sends(_zipped)
zipped_file = _sends(_zipped_file)
temporary = _sends(_temporary(tempfile.TemporaryFile))
named_temporary = _sends(_temporary(tempfile.NamedTemporaryFile))
spooled = _sends(_temporary(lambda: tempfile.SpooledTemporaryFile(max_size=1 << 20)))
rolled_over = _sends(_temporary(lambda: tempfile.SpooledTemporaryFile(max_size=1)))
pipe = _sends(_pipe)
appended = _sends(_appended)
marked = _sends(Marked)
marked_short_length = _sends(Marked, [("Content-Length", "7")])
length_shorter = _sends(lambda name: open(name, "rb"), [("Content-Length", "7")])
length_shorter_after_five = _sends(_after(5), [("Content-Length", "7")])
length_shorter_in_memory = _sends(lambda name: io.BytesIO(open_bytes(name)), [("Content-Length", "7")])
length_longer = _sends(lambda name: open(name, "rb"), [("Content-Length", "100000000")])


def without_size(environ, start_response):
    start_response("200 OK", PLAIN[:])
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))


def exact_length(environ, start_response):
    size = os.path.getsize(environ["QUERY_STRING"])
    start_response("200 OK", PLAIN + [("Content-Length", str(size))])
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))


def after_write(environ, start_response):
    """What write() was given comes first."""
    start_response("200 OK", PLAIN[:])(b"written:")
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))


def through_middleware(environ, start_response):
    """The wrapper is an iterable like any other: middleware that passes its blocks on loses the speed, not the bytes."""
    wrapped = plain(environ, start_response)

    def blocks():
        try:
            for block in wrapped:
                yield block.replace(b"0", b"x")
        finally:
            wrapped.close()

    return blocks()


def range_of_it(environ, start_response):
    """Middleware that reads the wrapper's file itself, as Werkzeug does for Range requests."""
    wrapped = plain(environ, start_response)
    first = next(iter(wrapped))
    wrapped.close()
    return [first[:10]]


def a_class(environ, start_response):
    """PEP 3333: middleware may ask `isinstance(result, environ["wsgi.file_wrapper"])`."""
    wrapper = environ["wsgi.file_wrapper"]
    wrapped = wrapper(io.BytesIO(b""))
    answer = isinstance(wrapper, type) and isinstance(wrapped, wrapper)
    wrapped.close()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a class" if answer else b"not a class"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return environ["wsgi.file_wrapper"](Marked(environ["QUERY_STRING"]))


def plain_open_file(environ, start_response):
    """No wrapper at all: a file is an iterable of its lines and has a close()."""
    start_response("200 OK", PLAIN[:])
    return Marked(environ["QUERY_STRING"])


application = by_name(globals())

"""Content-Length against the body, and responses that may not have a body."""

from by_name import by_name


def _answer(status, headers, blocks, lazily=False):
    def application(environ, start_response):
        start_response(status, headers[:])
        return (block for block in blocks) if lazily else list(blocks)

    return application


def _length(length):
    return [("Content-Type", "text/plain"), ("Content-Length", length)]


exact = _answer("200 OK", _length("9"), [b"abc", b"def", b"ghi"])
exact_generator = _answer("200 OK", _length("9"), [b"abc", b"def", b"ghi"], lazily=True)
longer_body = _answer("200 OK", _length("5"), [b"abc", b"def", b"ghi"])
longer_body_generator = _answer("200 OK", _length("5"), [b"abc", b"def", b"ghi"], lazily=True)
shorter_body = _answer("200 OK", _length("20"), [b"abc", b"def", b"ghi"])
shorter_body_generator = _answer("200 OK", _length("20"), [b"abc", b"def", b"ghi"], lazily=True)
no_body = _answer("200 OK", _length("20"), [])
zero = _answer("200 OK", _length("0"), [])
zero_with_body = _answer("200 OK", _length("0"), [b"abc"])
no_content = _answer("204 No Content", [], [b"abc", b"def"])
no_content_generator = _answer("204 No Content", [], [b"abc", b"def"], lazily=True)
not_modified = _answer("304 Not Modified", [("ETag", '"x"'), ("Content-Length", "6")], [b"abc", b"def"])
not_modified_generator = _answer(
    "304 Not Modified", [("ETag", '"x"'), ("Content-Length", "6")], [b"abc", b"def"], lazily=True
)
without = _answer("200 OK", [("Content-Type", "text/plain")], [b"abc", b"def"])
head_without_body = _answer("200 OK", _length("6"), [])
many_blocks = _answer("200 OK", _length("800000"), [b"0123456789abcdef" * 100] * 500)
many_blocks_cut = _answer("200 OK", _length("10"), [b"0123456789abcdef" * 100] * 500)
one_large_block_cut = _answer("200 OK", _length("10"), [b"0123456789" * 100_000])
many_blocks_short = _answer("200 OK", _length("800001"), [b"0123456789abcdef" * 100] * 500)
many_blocks_no_content = _answer("204 No Content", [], [b"0123456789abcdef" * 100] * 500)
bad_length = _answer("200 OK", _length("six"), [b"abcdef"])

application = by_name(globals())

"""Yields many small blocks without a pause, then waits at the FIFO that the query names before the last one."""

from urllib.parse import parse_qs


def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    count, size = int(query["count"][0]), int(query["size"][0])
    start_response("200 OK", [])
    for number in range(count):
        yield b"%0*d" % (size, number)
    if "fail" in query:
        raise RuntimeError("after the burst")
    if "fifo" in query:
        with open(query["fifo"][0], "rb") as fifo:
            fifo.read()
    yield b"end"

"""Reads the body in blocks of 64 KiB and says how many bytes came and what their CRC is."""

import zlib


def application(environ, start_response):
    length = checksum = 0
    while block := environ["wsgi.input"].read(65536):
        length += len(block)
        checksum = zlib.crc32(block, checksum)
    body = f"{length} {checksum}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

"""What an authorizer stands before: says what it was told, and how much of a body has come."""

import zlib

NAMES = "MEMBER_OF ASKED SCRIPT_NAME PATH_INFO QUERY_STRING FCGI_ROLE"


def application(environ, start_response):
    page = [f"{name}={environ.get(name)!a}" for name in NAMES.split()]
    body = environ["wsgi.input"].read()
    page.append(f"body={len(body)} bytes, {zlib.crc32(body):08x}")
    page = "".join(line + "\n" for line in page).encode("ascii")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(page)))])
    return [page]

"""A head of as many headers as the query says, about 100 bytes each."""


def application(environ, start_response):
    count = int(environ["QUERY_STRING"])
    headers = [(f"X-Header-{number:05}", "v" * 80) for number in range(count)]
    start_response("201 Made", headers + [("Location", "http://localhost/new")])
    return [b"body"]

"""Names that are nearly right, for the sentence that names them."""


def aplication(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"near"]


my_app = aplication
number = 42

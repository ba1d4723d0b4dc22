"""An application made by a call, as in `factory:create()`."""


def create():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"made by a factory"]

    return application


def create_with_default(word="default"):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [word.encode()]

    return application


def fails():
    raise RuntimeError("the factory is closed")


def gives_none():
    return None


def needs_more(configuration):
    return None

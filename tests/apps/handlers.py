"""What an application does with Python's signal handlers."""

import asyncio
import signal
import threading


class Rang(Exception):
    pass


def ring(*_):
    raise Rang


def alarm(environ):
    """A body that does not come, until a handler has had enough."""
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        environ["wsgi.input"].read(1000)
        return "read"
    except Rang:
        return "rang"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def defaults(environ):
    """As a library does that has had handlers of its own, and as asyncio does."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before):
        signal.signal(number, ring)
        signal.signal(number, handler)

    async def serve():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, ring)
        loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(serve())
    is_main = threading.current_thread() is threading.main_thread()
    return " ".join(str(handler) for handler in [*before, is_main])


def app(environ, start_response):
    answer = globals()[environ["PATH_INFO"].strip("/")](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer.encode()]

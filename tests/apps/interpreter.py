"""What the embedded interpreter is: which Python, where from, in which mode. One fact a line."""

import sys

from by_name import by_name


def facts(environ, start_response):
    import locale
    import os
    import site
    import threading

    lines = [
        f"version={sys.version_info[0]}.{sys.version_info[1]}",
        f"prefix={sys.prefix}",
        f"base_prefix={sys.base_prefix}",
        f"executable={sys.executable}",
        f"utf8_mode={sys.flags.utf8_mode}",
        f"filesystem={sys.getfilesystemencoding()}",
        f"preferred={locale.getpreferredencoding(False)}",
        f"open={open(os.devnull).encoding}",
        f"argv={sys.argv}",
        f"cwd={os.getcwd()}",
        f"path={sys.path}",
        f"site={site.getsitepackages()}",
        f"main_thread={threading.main_thread() is threading.current_thread()}",
        f"stdout={getattr(sys.stdout, 'encoding', None)}",
        f"stderr={getattr(sys.stderr, 'encoding', None)}",
        f"dev_mode={sys.flags.dev_mode}",
        f"main={sys.modules['__main__'].__name__}",
    ]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")]


def imports(environ, start_response):
    """Imports the module that the query names and says where it was found."""
    module = __import__(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [str(module.__file__).encode()]


def spawns(environ, start_response):
    """sys.executable must be a Python that works: multiprocessing and subprocess users start it."""
    import subprocess

    answer = subprocess.run(
        [sys.executable, "-c", "import sys; print(sys.version_info[:2], sys.prefix)"],
        check=True,
        capture_output=True,
    )
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [answer.stdout]


def threads(environ, start_response):
    """A thread of the application's own."""
    import threading

    answer = []
    thread = threading.Thread(target=lambda: answer.append(b"from a thread"))
    thread.start()
    thread.join()
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return answer


application = by_name(globals())

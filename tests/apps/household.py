"""What an application does with its process: says who it is, leaves children behind, writes to standard output and error."""

import atexit
import os
import subprocess
import sys
import tempfile

print("imported")


@atexit.register
def farewell():
    print("farewell")
    sys.stdout.flush()
    if "TEST_FAREWELL" in os.environ:
        with open(os.environ["TEST_FAREWELL"], "a") as file:
            file.write(f"{os.getpid()}\n")


def orphan(fifo):
    """A grandchild whose parent has gone, which waits for the test's word."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            nothing = os.open("/dev/null", os.O_RDWR)
            for descriptor in range(3):
                os.dup2(nothing, descriptor)
            with open(fifo + ".pid", "w") as file:
                file.write(str(os.getpid()))
            os.rename(fifo + ".pid", fifo + ".ready")
            with open(fifo, "rb") as file:
                file.read()
        os._exit(0)
    os.waitpid(child, 0)
    return "orphaned"


def writes(what):
    print("by print, without a flush:", what)
    sys.stderr.write("by stderr: " + what + "\n")
    os.write(1, b"by descriptor 1\nand a second line\n")
    os.write(2, b"by descriptor 2\n")
    subprocess.run(["echo", "by a child"], check=True)
    os.write(2, b"in two ")
    os.write(2, b"pieces\n")
    return "written"


def describes(_):
    umask = os.umask(0)
    os.umask(umask)
    return f"uid {os.getuid()} gid {os.getgid()} groups {sorted(os.getgroups())} umask {umask:03o} home {os.environ.get('HOME')}"


def reads(name):
    """What /proc/self has under this name, or why it cannot be read."""
    try:
        with open("/proc/self/" + name, errors="replace") as file:
            return file.read()
    except OSError as error:
        return error.strerror


def grows(_):
    """Writes more than a limit of file sizes allows."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1 << 20))
    except OSError as error:
        return error.strerror
    return "written"


def opens(word):
    """Logs as programs do that are made for containers."""
    for name in ("/dev/stdout", "/dev/stderr"):
        with open(name, "w") as file:
            file.write(f"{word} by {name}\n")
    return "written"


def environment(_):
    names = ("HOME", "USER", "LOGNAME", "SHELL", "USERNAME")
    return " ".join(f"{name}={os.environ.get(name)}" for name in names) + " ~=" + os.path.expanduser("~")


PAGES = {"/opens": opens, "/environment": environment, "/grows": grows, "/reads": reads, "/orphan": orphan, "/writes": writes, "/describes": describes, "/pid": lambda _: str(os.getpid())}


def application(environ, start_response):
    body = PAGES[environ["PATH_INFO"]](environ["QUERY_STRING"]).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

"""serve_flup.py SOCKET MODULE:ATTRIBUTE: flup has no command of its own."""

import functools
import importlib
import sys

from flup.server.fcgi import WSGIServer

socket, app = sys.argv[1:]
module, _, path = app.partition(":")
application = functools.reduce(getattr, path.split("."), importlib.import_module(module))
WSGIServer(application, bindAddress=socket).run()

"""Puts wsgiref.validate.validator around the application that WSGI_TEST_VALIDATE names (`module:attribute`).

The validator checks both sides of PEP 3333 on every call; what it finds becomes an AssertionError, so a 500.
"""

import importlib
import os
import warnings
from wsgiref.validate import WSGIWarning, validator

warnings.simplefilter("error", WSGIWarning)
module, _, attribute = os.environ["WSGI_TEST_VALIDATE"].partition(":")
application = validator(getattr(importlib.import_module(module), attribute))

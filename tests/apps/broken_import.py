"""Fails while it is imported."""

import module_that_nobody_has_written  # noqa: F401


def application(environ, start_response):
    return []

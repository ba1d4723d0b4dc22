"""Runs a command on a terminal of its own, as a person would, and passes on what it prints and its exit code."""

import os
import pty
import sys

status = pty.spawn(sys.argv[1:], stdin_read=lambda fd: b"")
sys.exit(os.waitstatus_to_exitcode(status))

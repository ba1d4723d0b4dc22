"""Stands in for ensurepip, which `python3 -m venv` runs with a new environment's own Python: puts the stand-in for pip there."""

import os
import shutil
import sys

for name in ("pip", "pip3"):
    shutil.copy("/usr/lib/documents/pip", os.path.join(sys.prefix, "bin", name))

"""Packs a tree into a wheel: wheel.py TREE FOLDER VERSION. The same tree makes the same bytes."""

import base64
import hashlib
import os
import sys
import time
import zipfile

tree, folder, version = sys.argv[1:]
tag = "py3-none-manylinux_2_17_x86_64"
info, data = f"wsgi_gateway-{version}.dist-info", f"wsgi_gateway-{version}.data"
date = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]

with open("README.md", encoding="utf-8") as readme:
    description = readme.read()
files = {
    f"{info}/METADATA": f"""Metadata-Version: 2.1
Name: wsgi-gateway
Version: {version}
Summary: CGI and FastCGI gateway between web servers and Python WSGI (PEP 3333) applications
License: MIT OR Apache-2.0
Requires-Python: >=3.9
Description-Content-Type: text/markdown

{description}""".encode(),
    f"{info}/WHEEL": f"""Wheel-Version: 1.0
Generator: wsgi-gateway
Root-Is-Purelib: false
Tag: {tag}
""".encode(),
}
for name in ("LICENSE-MIT", "LICENSE-APACHE"):
    with open(name, "rb") as text:
        files[f"{info}/licenses/{name}"] = text.read()


def add(place, inside):
    with open(os.path.join(tree, place), "rb") as content:
        files[inside] = content.read()


add("bin/wsgi-gateway", f"{data}/scripts/wsgi-gateway")
for core in os.listdir(os.path.join(tree, "lib/wsgi-gateway")):
    add(f"lib/wsgi-gateway/{core}", f"{data}/data/lib/wsgi-gateway/{core}")
for section in os.listdir(os.path.join(tree, "share/man")):
    for page in os.listdir(os.path.join(tree, "share/man", section)):
        add(f"share/man/{section}/{page}", f"{data}/data/share/man/{section}/{page}")

record = ""
with zipfile.ZipFile(f"{folder}/wsgi_gateway-{version}-{tag}.whl", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as wheel:

    def write(name, content):
        entry = zipfile.ZipInfo(name, date)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = (0o100755 if "/scripts/" in name else 0o100644) << 16
        wheel.writestr(entry, content)

    for name, content in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
        write(name, content)
    write(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")

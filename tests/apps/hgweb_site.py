"""Mercurial's own web application over the repositories below the folder that HGWEB_FOLDER names; anybody may push."""

import os

from mercurial import demandimport

# As Mercurial's own hgweb.wsgi does it: a CGI request is not to import what it does not need.
demandimport.enable()

from mercurial.hgweb import hgweb  # noqa: E402

application = hgweb(os.path.join(os.environ["HGWEB_FOLDER"], "hgweb.config").encode())

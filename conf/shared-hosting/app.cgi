#!/usr/local/bin/wsgi-gateway --persistent
# The program that Apache starts for each request (mode 755, lines that end as on Unix). Its first line names the gateway by its whole
# path, wherever you have put it. With more options, such as a virtualenv, and a log in your own folder, it is:
#!/usr/bin/env -S /home/you/bin/wsgi-gateway --persistent --venv /home/you/venv --log-file /home/you/logs/app.log
#
# --persistent keeps the application alive between requests, for 300 s after the last one; without that word each request starts it anew.
# Errors are in the web server's error log, too. Without --log-file the log is small and lies where `stop` and `ps` look, in $XDG_RUNTIME_DIR/wsgi-gateway or
# /tmp/wsgi-gateway-UID. A changed app.cgi is noticed at once; after a change of another file of yours: touch restart.txt beside it.
# `bin/wsgi-gateway ps` shows what is alive, `bin/wsgi-gateway stop` ends it.

# The rest is Python, and what it calls `application` is served. Modules in the folder of this file are found; for others:
#import sys; sys.path.insert(0, "/home/you/site")
from your_site import application

#!/usr/local/bin/wsgi-gateway --persistent
# The program that Apache starts for each request (mode 755, lines that end as on Unix). Its first line names the gateway by its whole
# path, wherever you have put it. --persistent has the application stay between requests; without that word each request starts it anew.
# Its log is small, and lies in $XDG_RUNTIME_DIR/wsgi-gateway or else in /tmp/wsgi-gateway-UID. With more options, such as a virtualenv
# and a log in your own folder (which is yours to empty), it is:
#!/usr/bin/env -S /home/you/bin/wsgi-gateway --persistent --venv /home/you/venv --log-file /home/you/logs/app.log

# A change of this file is noticed with the next request, and so is `touch restart.txt` in this folder: do that when other files have
# changed. In a shell, the same program shows with the word `ps` what is running, and ends it with `stop`.

# The rest is Python, and what it calls `application` is served. Modules in the folder of this file are found; for others:
#import sys; sys.path.insert(0, "/home/you/site")
from your_site import application

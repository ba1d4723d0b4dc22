#!/usr/local/bin/wsgi-gateway
# The program that mod_fcgid starts and keeps running (mode 755, lines that end as on Unix). Its first line names the gateway by its whole
# path, wherever you have put it. With options, such as a virtualenv, it is:
#!/usr/bin/env -S /home/you/bin/wsgi-gateway --venv /home/you/venv

# The rest is Python, and what it calls `application` is served. Modules in the folder of this file are found; for others:
#import sys; sys.path.insert(0, "/home/you/site")
from your_site import application

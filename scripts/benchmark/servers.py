"""The web servers in front: one nginx for all peers behind it, and an Apache."""

import os
import shutil
from pathlib import Path

from processes import Server, until
from load import ask

# What every site of nginx has, whichever protocol is behind it: no logs, and no answers or bodies by way of the disk.
NGINX = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000000;
    client_max_body_size 100m;
    client_body_buffer_size 2m;
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    proxy_temp_path {folder}/proxy;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    fastcgi_max_temp_file_size 0;
    proxy_max_temp_file_size 0;
    uwsgi_max_temp_file_size 0;
{sites}
}}
"""
SITE = """
    upstream {name} {{ server unix:{socket}; {kept} }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
{lines}
        }}
    }}
"""
KEPT = "keepalive 128; keepalive_requests 1000000000;"
# The lines of conf/nginx.conf, but for how many connections are kept: as many as the load has.
FASTCGI = """
            include /etc/nginx/fastcgi_params;
            fastcgi_param HTTP_HOST $http_host;
            fastcgi_param REMOTE_USER "";
            fastcgi_param SCRIPT_NAME "";
            fastcgi_param PATH_INFO $fastcgi_script_name;
            fastcgi_pass {name};
            fastcgi_buffer_size 32k;
            fastcgi_buffers 8 32k;
            fastcgi_busy_buffers_size 224k;
"""
LINES = {
    "fastcgi": FASTCGI + "            fastcgi_keep_conn on;\n",
    # For what answers and closes whatever it is asked for.
    "fastcgi-closed": FASTCGI,
    "php": """
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {apps}/hello.php;
            fastcgi_pass {name};
            fastcgi_keep_conn on;
""",
    "uwsgi": """
            include /etc/nginx/uwsgi_params;
            uwsgi_pass {name};
            uwsgi_buffer_size 32k;
            uwsgi_buffers 8 32k;
""",
    "http": """
            proxy_pass http://{name};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_buffer_size 32k;
            proxy_buffers 8 32k;
""",
}


def nginx(folder, sites, apps):
    """One nginx for all `sites`, of (name, protocol, socket, port)."""
    text = "".join(
        SITE.format(
            name=name,
            socket=socket,
            port=port,
            kept="" if protocol in ("uwsgi", "fastcgi-closed") else KEPT,
            lines=LINES[protocol].format(name=name, apps=apps),
        )
        for name, protocol, socket, port in sites
    )
    configuration = Path(folder) / "nginx.conf"
    configuration.write_text(NGINX.format(user="user root;" if os.geteuid() == 0 else "", folder=folder, sites=text))
    server = Server("nginx", ["nginx", "-e", f"{folder}/nginx-error.log", "-c", str(configuration), "-g", "daemon off;"], folder, dict(os.environ))
    until(lambda: ask(sites[0][3], "/")[0], "nginx answers", server)
    return server


MODULES = Path("/usr/lib/apache2/modules")
APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
Mutex file:{folder} default
ErrorLog {folder}/apache-error.log
LogLevel error
ServerName 127.0.0.1
Listen 127.0.0.1:{port}
{user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule env_module {modules}/mod_env.so
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
MinSpareThreads 1
MaxSpareThreads 64
KeepAlive On
MaxKeepAliveRequests 0
<Directory />
    Require all granted
    Options +ExecCGI
</Directory>
<Location />
    Require all granted
</Location>
{lines}
"""
APACHE_LINES = {
    "mod_proxy_fcgi": """
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_fcgi_module {modules}/mod_proxy_fcgi.so
ProxyPass / unix:{socket}|fcgi://localhost/ enablereuse=on
""",
    "mod_wsgi": """
LoadModule wsgi_module {modules}/mod_wsgi.so
WSGISocketPrefix {folder}/wsgi
WSGIDaemonProcess bench processes=1 threads={threads} python-home={venv} python-path={apps}
WSGIProcessGroup bench
WSGIApplicationGroup %{{GLOBAL}}
WSGIScriptAlias / {script}
""",
    "mod_fcgid": """
LoadModule fcgid_module {modules}/mod_fcgid.so
FcgidIPCDir {folder}/fcgid
FcgidProcessTableFile {folder}/fcgid-shm
FcgidMinProcessesPerClass 4
FcgidMaxProcessesPerClass 4
{pass_env}
<Files app.fcgi>
    SetHandler fcgid-script
</Files>
ScriptAlias / {script}/
""",
}


def apache(folder, way, port, values, environment):
    """An Apache that has one way to the application, on `port`."""
    values = {"modules": MODULES, "folder": folder, "port": port, **values}
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    shutil.rmtree(f"{folder}/fcgid", ignore_errors=True)
    text = APACHE.format(**values, user=user, lines=APACHE_LINES[way].format(**values))
    configuration = Path(folder) / "apache.conf"
    configuration.write_text(text)
    return Server("apache", ["apache2", "-f", str(configuration), "-DFOREGROUND"], folder, environment)

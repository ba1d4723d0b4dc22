# Makes a copy of the machine and types a document in it. Started by reader.rs in namespaces of its own for mounts, processes and network:
# nothing of what is mounted, started or written here is left when this process ends.
set -eu
[ $$ -eq 1 ] || exit 77
machine=$FOLDER/machine
mkdir "$machine"
{
  mount -t tmpfs -o mode=755 tmpfs "$machine"
  cd "$machine"
  mkdir root changes work sources-changes sources-work
  mount -t overlay -o "lowerdir=/,upperdir=changes,workdir=work" overlay root
  # The sources are put in place by themselves: they may be on another disk than the machine's root.
  mkdir -p root/usr/src/wsgi-gateway root/documents root/root
  mount -t overlay -o "lowerdir=$SOURCES,upperdir=sources-changes,workdir=sources-work" overlay root/usr/src/wsgi-gateway
  mount --bind "$FOLDER/steps" root/documents
  mount --rbind /dev root/dev
  mount -t proc proc root/proc
  mount -t tmpfs -o mode=755 tmpfs root/run
  mount -t tmpfs -o mode=1777 tmpfs root/tmp
  # Nobody's own settings are to help or to harm.
  case $PYTHON in /root/*) ;; *) mount -t tmpfs -o mode=700 tmpfs root/root ;; esac
  busybox ip link set lo up
} || exit 77

here=$SOURCES/tests/suite/documents
cp "$here/shell.sh" "$FOLDER/steps/"
cd root
read -r version ensurepip <<<"$("$PYTHON" -c 'import sys, ensurepip; print("%d%d" % sys.version_info[:2], *ensurepip.__path__)')"
# The program and its core, in the folders below this one: not copied, for that would be most of the work here.
put_gateway() {
  mkdir -p "$1/bin" "$1/lib/wsgi-gateway"
  touch "$1/bin/wsgi-gateway" "$1/lib/wsgi-gateway/core-cp$version.so"
  mount --bind "$PROGRAM" "$1/bin/wsgi-gateway"
  mount --bind "$CORE" "$1/lib/wsgi-gateway/core-cp$version.so"
}
# What a package or a build would bring, for the stand-ins to put where it belongs.
built=usr/lib/documents
put_gateway "$built"
echo "$SITE_PACKAGES_OF"/lib/python3.*/site-packages | sed "s|^$SOURCES/|/usr/src/wsgi-gateway/|" >"$built/site-packages"

# First in PATH.
stand_in() { install -m 755 "$here/stand-ins/$1" "usr/local/sbin/$2"; }
for name in apt apt-get; do stand_in apt "$name"; done
for name in systemctl service journalctl; do stand_in "$name" "$name"; done
for name in a2enmod a2dissite a2ensite; do stand_in a2 "$name"; done
for name in git cargo; do stand_in sources "$name"; done
for name in scripts/package scripts/demo scripts/test scripts/fuzz scripts/bench .ci/run; do
  if [ -e "usr/src/wsgi-gateway/$name" ]; then install -m 755 "$here/stand-ins/sources" "usr/src/wsgi-gateway/$name"; fi
done
# Every virtual environment gets this for its pip: the real one would be unpacked for seconds, and has no network.
install -m 644 "$here/stand-ins/ensurepip.py" ".$ensurepip/__main__.py"
install -m 755 "$here/stand-ins/pip" "$built/pip"

if [ "$INSTALLED" ]; then
  put_gateway usr/local
else
  chroot . /usr/src/wsgi-gateway/scripts/package
  mv usr/src/wsgi-gateway/target/package/packages/* root/
fi
# What Debian's packages make at boot, and an Apache that has its programs without its configuration.
mkdir -p run/haproxy run/lighttpd run/apache2 run/lock var/log/apache2 var/log/nginx var/log/lighttpd var/cache/lighttpd/uploads
chown www-data run/lighttpd var/log/lighttpd var/cache/lighttpd/uploads
mkdir -p etc/apache2/sites-available etc/apache2/sites-enabled etc/apache2/mods-enabled etc/apache2/conf-enabled
printf '%s\n' '<VirtualHost *:80>' 'DocumentRoot /var/www/html' '</VirtualHost>' >etc/apache2/sites-available/000-default.conf
ln -sf ../sites-available/000-default.conf etc/apache2/sites-enabled/
# In a terminal curl shows no meter.
echo no-progress-meter >root/.curlrc

exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root LANG=C.UTF-8 TERM=dumb \
  chroot . /bin/bash /documents/all.sh

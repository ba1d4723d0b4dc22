# shellcheck shell=bash
# What the scripts and .ci/run stand on: the repository's root, Debian's packages, Python's virtualenvs.
# Sourced, not run; whoever sources it may have been called from any folder, and has set -euo pipefail.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
# Where rustup puts cargo and Debian puts nginx: not in everybody's PATH.
PATH=$PATH:${HOME:-}/.cargo/bin:/usr/sbin:/sbin
# Debian's Python by its absolute path: a PATH that changes would rebuild PyO3.
export PYO3_PYTHON=/usr/bin/python3

say() { printf '== %s\n' "$*" >&2; }
fail() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

# Whether what a Debian package is wanted for is there, wherever it came from.
present() {
  case $1 in
    apache2-bin) command -v apache2 ;;
    apache2-suexec-pristine) [[ -e /usr/lib/apache2/suexec ]] ;;
    ca-certificates) [[ -s /etc/ssl/certs/ca-certificates.crt ]] ;;
    gcc) command -v cc ;;
    libapache2-mod-fcgid) [[ -e /usr/lib/apache2/modules/mod_fcgid.so ]] ;;
    libapache2-mod-wsgi-py3) [[ -e /usr/lib/apache2/modules/mod_wsgi.so ]] ;;
    libapache2-mod-xsendfile) [[ -e /usr/lib/apache2/modules/mod_xsendfile.so ]] ;;
    libssl-dev) [[ -e /usr/include/openssl/ssl.h ]] ;;
    php-fpm) compgen -c php-fpm ;;
    python3-venv) [[ -x $PYO3_PYTHON ]] && "$PYO3_PYTHON" -c 'import ensurepip' ;;
    rustfmt) cargo fmt --version ;;
    mini-httpd) command -v mini_httpd ;;
    systemd) command -v systemd-analyze ;;
    uwsgi-core) command -v uwsgi ;;
    uwsgi-plugin-python3) compgen -G '/usr/lib/uwsgi/plugins/python3*_plugin.so' ;;
    rust-clippy) cargo clippy --version ;;
    *) command -v "$1" ;;
  esac >/dev/null 2>&1
}

# need PACKAGE...: installs those of the Debian packages that are missing.
need() {
  local package missing=()
  for package; do present "$package" || missing+=("$package"); done
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || fail "missing: ${missing[*]}. As root: apt-get install ${missing[*]}"
  say "Installing from Debian: ${missing[*]}"
  # Certificates that this machine trusts without having the package ca-certificates stay trusted: another package may bring it in,
  # and it writes the list anew.
  local trusted=/etc/ssl/certs/ca-certificates.crt
  if [[ -s $trusted && ! -e /usr/sbin/update-ca-certificates ]]; then
    install -D -m 644 "$trusted" /usr/local/share/ca-certificates/trusted-before.crt
  fi
  # Web servers are wanted as programs: none shall begin to serve port 80 of this machine because a test needs it.
  local no_services=/usr/sbin/policy-rc.d
  if [[ -e $no_services ]]; then no_services=; else printf '#!/bin/sh\nexit 101\n' >"$no_services" && chmod 755 "$no_services"; fi
  local status=0
  install_packages "${missing[@]}" || status=$?
  if [[ $no_services ]]; then rm -f "$no_services"; fi
  ((status == 0)) || fail "apt-get could not install ${missing[*]}"
}

# install_packages PACKAGE...: has apt-get install them, and tells how far it is: on a terminal in one line that changes, else in one for
# each fifth. What apt-get says is an error is said as it is.
install_packages() {
  local kind name percent text status=0 told=-1 step
  {
    apt-get update -qq >/dev/null &&
      DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends -o APT::Status-Fd=3 "$@" 3>&1 >/dev/null
  } | while IFS=: read -r kind name percent text; do
    case $kind in
      dlstatus | pmstatus) ;;
      *) continue ;;
    esac
    step=$kind$((${percent%.*} / 20))
    if [[ -t 2 ]]; then
      printf '\r\033[K   %3d %% %.60s' "${percent%.*}" "$text" >&2
    elif [[ $step != "$told" ]]; then
      told=$step
      printf '   %3d %% %s\n' "${percent%.*}" "$text" >&2
    fi
  done || status=$?
  if [[ -t 2 ]]; then printf '\r\033[K' >&2; fi
  return "$status"
}

# need_to_build PACKAGE...: what every build needs, and these, so that all that is missing is named at once; then cargo must be one that
# knows this edition of Rust (Debian 12's own does not).
need_to_build() {
  need ca-certificates cargo gcc python3 "$@"
  local wanted version
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  version=$(cargo --version | cut -d' ' -f2)
  printf '%s\n' "$wanted" "$version" | sort -CV ||
    fail "$(command -v cargo) is version $version, this needs $wanted or newer (Debian 13's, or rustup's)"
}

# virtualenv DIR FILE PIP-ARGUMENT...: a virtualenv of Debian's Python with the packages that the arguments name, made anew when the
# Python or the versions that the file pins change.
virtualenv() {
  local dir=$1 made_from
  made_from=$("$PYO3_PYTHON" -VV; echo "${@:3}"; cat "$2")
  shift 2
  [[ -f $dir/made-from && $(<"$dir/made-from") == "$made_from" ]] && return
  say "Making the virtualenv $dir"
  rm -rf "$dir"
  "$PYO3_PYTHON" -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check "$@"
  printf '%s\n' "$made_from" >"$dir/made-from"
}

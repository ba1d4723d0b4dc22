# The shell in which a document's blocks are typed: what reader.rs writes for each is one of these words with the number of its line.
# It is the first process of its namespace, so that what is left behind is its own to end.
set -eu
# What ends all processes here must not do so anywhere else.
[ $$ -eq 1 ] || exit 77

case $DOCUMENT in
  conf/*) first=/usr/src/wsgi-gateway/conf ;;
  *) first=/root ;;
esac
cd "$first"

# So many seconds may a program take until it is ready.
patience=20

at() { echo "$1" >/documents/at; }
give_up() { echo "$1" >/documents/why; exit 1; }
trap 'code=$?; [ -e /documents/done ] || [ -e /documents/why ] || echo "a command fails (exit code $code)" >/documents/why' EXIT

# The block's commands, in this shell: folders and variables stay.
run() {
  at "$1"
  . "/documents/$1.sh" >"/documents/$1.out" 2>&1
}

fail() {
  at "$1"
  set +e
  (set -e; . "/documents/$1.sh") >"/documents/$1.out" 2>&1
  echo $? >"/documents/$1.code"
  set -e
}

stay() {
  at "$1"
  : >"/documents/$1.out"
  (. "/documents/$1.sh") >"/documents/$1.out" 2>&1 &
  local program=$! deadline=$((SECONDS + patience)) words
  words=$(<"/documents/$1.words")
  while ! has_printed "$1" "$words"; do
    # What it has printed as its last is looked at after it was seen to be gone.
    kill -0 "$program" 2>/dev/null || has_printed "$1" "$words" || give_up "ends before it prints '$words'"
    ((SECONDS < deadline)) || give_up "does not print '$words' in time"
    sleep 0.05
  done
}

has_printed() { [[ $(</documents/$1.out) == *"$2"* ]]; }

put() {
  at "$1"
  mkdir -p "$(dirname "$2")"
  cat "/documents/$1.file" >"$2"
  chmod "$3" "$2"
}

append() {
  at "$1"
  cat "/documents/$1.file" >>"$2"
}

end_session() {
  kill -KILL -1 || true
  wait 2>/dev/null || true
  # Not of this shell's: they are gone when /proc has none but this one and the one that looks.
  until [ "$(set -- /proc/[0-9]*; echo $#)" -le 2 ]; do sleep 0.01; done
  rm -f /run/*.pid /run/apache2/*
  cd "$first"
}

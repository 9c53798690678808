# Shared by the scripts in ci/: where things are, progress on the terminal, packages that a bare Debian lacks.
# Sourced, never run.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export HERE
# Everything a script makes outside target/ goes here: Python environments, containers, scratch.
export WORK="$HERE/.work"
mkdir -p "$WORK"

if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' PLAIN=$'\e[0m'; else BOLD='' DIM='' PLAIN=''; fi
export BOLD DIM PLAIN

say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*"; }
note() { printf '    %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# as_root COMMAND...: with sudo only where we are not root already.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    die "'$*' needs root, and there is no sudo; run this script as root"
  fi
}

# need COMMAND=PACKAGE...: installs the Debian packages of the commands (or, with a leading '/', files) that are missing.
need() {
  local missing=() pair what
  for pair in "$@"; do
    what=${pair%%=*}
    case $what in
      /*) [ -e "$what" ] ;;
      *) command -v "$what" >/dev/null 2>&1 ;;
    esac || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null 2>&1 || die "missing: ${missing[*]} (this is not a Debian system: install them by hand)"
  say "Installing from Debian: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# python_with DIR REQUIREMENTS: a virtual environment that holds just what the file pins.
# Debian's own Python, since one in a home folder is out of reach of the user that components run as.
python_with() {
  local dir=$1 requirements=$2
  need /usr/bin/python3=python3 "$(/usr/bin/python3 -c "import sysconfig; print(sysconfig.get_path('stdlib'))" 2>/dev/null)/ensurepip=python3-venv"
  if [ -x "$dir/bin/python" ] && cmp -s "$requirements" "$dir/.requirements"; then return 0; fi
  say "Python environment with $(grep -v '^#' "$requirements" | tr '\n' ' ')"
  # A broken or half-made environment is made anew.
  rm -rf "$dir"
  /usr/bin/python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$dir/.requirements"
}

# The user that components run as when the runtime is root, as the Greengrass installer makes it.
component_user() {
  [ "$(id -u)" = 0 ] || return 0
  getent group ggc_group >/dev/null || groupadd --system ggc_group
  id -u ggc_user >/dev/null 2>&1 || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin --gid ggc_group ggc_user
}

# reachable DIR FOLDER: prints DIR when the components' user can enter it, else the name of a copy made below FOLDER.
# A clone in root's home is out of that user's reach, and so is everything in it.
reachable() {
  if [ "$(id -u)" = 0 ] && ! setpriv --reuid=ggc_user --regid=ggc_group --clear-groups test -x "$1/."; then
    mkdir -p "$2"
    chmod 755 "$2"
    cp -r "$1" "$2/"
    printf '%s' "$2/$(basename "$1")"
  else
    printf '%s' "$1"
  fi
}

seconds_since() { printf '%s' "$(($(date +%s) - $1))"; }

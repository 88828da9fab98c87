# Sourced by ./check and ./demo: makes sure that Debian packages are there.
#
#   need_packages NAME...   installs those that are missing with apt-get (through sudo when not root), after saying
#                           which; does nothing, and needs no network, when all are there.

package_is_there() {
  [[ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" == "install ok installed" ]]
}

need_packages() {
  local name missing=() as_root=()
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "packages: no apt-get here; needed under your system's names: $*"
    return 0
  fi
  for name in "$@"; do
    package_is_there "$name" || missing+=("$name")
  done
  if ((${#missing[@]} == 0)); then
    echo "packages: all $# are installed"
    return 0
  fi
  echo "packages: installing ${missing[*]}"
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      echo "packages: this needs root or sudo; as root: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
    [[ -t 0 ]] || as_root+=(-n)  # nobody there to type a password
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  # An old list only matters if the installation fails, so a failed update is not the end.
  "${as_root[@]}" update || echo "packages: apt-get update failed, trying with the lists at hand"
  if ! "${as_root[@]}" install --yes --no-install-recommends "${missing[@]}" </dev/null; then
    echo "packages: apt-get could not install ${missing[*]}" >&2
    return 1
  fi
}

#!/bin/bash
# packages.sh [--fresh] PACKAGE...: install Debian or Ubuntu packages, with patience and with clear words.
#
# --fresh asks the archive for new lists first: for packages of which an older version may be there or be listed.
# Every step that asks the archive is tried up to three times. Works as root, or with a sudo that asks for nothing.
# Exit status: 0 installed; 77 they cannot be installed here, and a line says why (callers skip, loudly).
set -uo pipefail
fresh=
[ "${1:-}" = --fresh ] && { fresh=1; shift; }
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

say()  { printf 'packages: %s\n' "$*" >&2; }
skip() { say "SKIPPED: $*"; exit 77; }

command -v apt-get >/dev/null || skip "missing: $*; there is no apt-get here, install them by hand"
as_root=()
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || skip "missing: $*; not root and no password-less sudo, so run: sudo apt-get install $*"
    as_root=(sudo -n)
fi
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" >&2
}
try() {
    local what=$1 pause
    shift
    for pause in 5 20 0; do
        "$@" && return 0
        say "$what failed$([ "$pause" = 0 ] || echo ", next try in $pause s")"
        sleep "$pause"
    done
    return 1
}

say "installing $*"
# The lists may be fresh enough: ask the archive for new ones only when the packages do not install without.
[ -z "$fresh" ] && apt install --no-install-recommends "$@" && exit 0
try "apt-get update" apt update || skip "cannot fetch the package lists, needed for: $*"
try "apt-get install" apt install --no-install-recommends "$@" || skip "cannot install: $*"

#!/bin/bash
# setup.sh [DIR]: build the debugger rig: Microsoft's dbgeng under Wine, driven by dbgrun.exe.
#
# DIR defaults to $RIG_HOME, and that to ~/.cache/mkdump-rig. Running it again only does what is missing.
# The engines' DLLs are Microsoft's, redistributed inside the pykd wheels. They are fetched here, at test time,
# for testing only, and must never be committed or shipped.
#
# Exit status: 0 ready; 77 the rig cannot be had on this machine (callers skip, loudly); 1 anything else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${1:-${RIG_HOME:-$HOME/.cache/mkdump-rig}}
mkdir -p "$home"
home=$(cd "$home" && pwd)

say()  { printf 'rig: %s\n' "$*" >&2; }
skip() { say "SKIPPED: $*"; exit 77; }

# Two runs must not build one rig at the same time: the second waits, and then finds everything done.
exec 9>"$home/.lock"
flock -w 600 9 || skip "another setup.sh has held $home for ten minutes"

# try WHAT COMMAND...: three times, with a pause between. For every step that talks to a registry.
try() {
    local what=$1 pause
    shift
    for pause in 5 20 0; do
        "$@" >&2 && return 0
        say "$what failed$([ "$pause" = 0 ] || echo ", next try in $pause s")"
        sleep "$pause"
    done
    return 1
}

# 1. Programs. Package names are Debian's and Ubuntu's.
packages=()
need() { command -v "$1" >/dev/null || packages+=("${@:2}"); }
need wine wine wine64
need x86_64-w64-mingw32-g++ g++-mingw-w64-x86-64
need python3 python3
python3 -m pip --version >/dev/null 2>&1 || packages+=(python3-pip)
if ((${#packages[@]})); then
    # The lock stays with this script: a service that a package starts must not inherit it.
    "$here/../../../xtask/packages.sh" "${packages[@]}" 9>&- || skip "no ${packages[*]}"
fi

# 2. The harness. mingw-w64 ships dbgeng.h.
sum_of() { sha256sum "$here/dbgrun.cpp" | cut -d' ' -f1; }
if [ ! -f "$home/dbgrun.exe" ] || [ "$(cat "$home/dbgrun.sum" 2>/dev/null)" != "$(sum_of)" ]; then
    say "building dbgrun.exe"
    x86_64-w64-mingw32-g++ -O1 -static -o "$home/dbgrun.exe.new" "$here/dbgrun.cpp" -luuid -ldbgeng
    mv "$home/dbgrun.exe.new" "$home/dbgrun.exe"
    sum_of >"$home/dbgrun.sum"
fi

# 3. Engines: name, wheel version, the wheel's Python version and ABI, SHA-256 of dbgeng.dll.
engine() {
    local name=$1 version=$2 python=$3 abi=$4 sum=$5 dir="$home/dbgeng-$1" tmp
    if ! echo "$sum  $dir/dbgeng.dll" | sha256sum --check --status 2>/dev/null; then
        say "fetching dbgeng $name (pykd $version)"
        tmp=$(mktemp -d)
        try "fetching pykd $version" python3 -m pip download -q --disable-pip-version-check --no-deps \
            --only-binary=:all: --platform win_amd64 --implementation cp --python-version "$python" --abi "$abi" \
            -d "$tmp" "pykd==$version" || { rm -rf "$tmp"; skip "cannot fetch pykd $version from the package index"; }
        mkdir -p "$dir"
        python3 - "$tmp" "$dir" <<'PY'
import glob, os, sys, zipfile
wheel, out = glob.glob(sys.argv[1] + "/*.whl")[0], sys.argv[2]
with zipfile.ZipFile(wheel) as z:
    for name in z.namelist():
        if name.startswith("pykd/") and name.endswith(".dll"):
            with open(os.path.join(out, os.path.basename(name)), "wb") as f:
                f.write(z.read(name))
PY
        rm -rf "$tmp"
        echo "$sum  $dir/dbgeng.dll" | sha256sum --check --status || { say "dbgeng.dll of pykd $version is not the one expected"; exit 1; }
    fi
    # The harness must lie beside the DLLs and run from there.
    cmp -s "$home/dbgrun.exe" "$dir/dbgrun.exe" || { cp "$home/dbgrun.exe" "$dir/dbgrun.exe.new" && mv "$dir/dbgrun.exe.new" "$dir/dbgrun.exe"; }
}
engine 10.0.15063 0.3.4.15 39 cp39  3305a179960c726da112905582a9e00425c01c7cdb83a3909d535bb56272ef3d
engine 6.3.9600   0.3.2.2  27 cp27m 24f9011b792dd36afd20dc0148ffdaf3a2bd7eb9de441541df8c2361c5fb7c2a

# 4. The Wine prefix. No display is needed.
if [ ! -f "$home/wineprefix/system.reg" ]; then
    say "creating the Wine prefix"
    # Not under the final name until it is whole: a killed run must not leave half a prefix behind.
    rm -rf "$home/wineprefix.new"
    WINEPREFIX="$home/wineprefix.new" WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" \
        timeout 300 wineboot -i >/dev/null 2>&1 9>&- || skip "wineboot failed"
    WINEPREFIX="$home/wineprefix.new" timeout 60 wineserver -w 2>/dev/null || true
    rm -rf "$home/wineprefix"
    mv "$home/wineprefix.new" "$home/wineprefix"
fi
say "ready in $home"

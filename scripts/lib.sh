# shellcheck shell=bash
# Functions shared by the scripts of this directory. Sourced, never run.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck disable=SC2034  # used by the scripts that source this file
MIN_RUST=1.92
MIN_NODE=18
# shellcheck disable=SC2034
FEATURES=plugin,dev-server

# --- talking -----------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }
step() { printf '== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# --- asking ------------------------------------------------------------------------------------------------

have() { command -v "$1" >/dev/null 2>&1; }

# version_at_least HAVE WANTED
version_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

target_dir() { printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}"; }

# --- Debian packages ---------------------------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "installing packages needs root: run this as root or install sudo"
    fi
}

package_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Prints those of its arguments that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        package_installed "$package" || printf '%s\n' "$package"
    done
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# Installs those of its arguments that are missing, in one call; refreshes the package lists only if that fails.
install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${#missing[@]} Debian packages: ${missing[*]}"
    if ! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null; then
        apt_get update
    fi
    apt_get install -y --no-install-recommends "${missing[@]}" && return 0
    say "refreshing the package lists and trying once more"
    apt_get update
    apt_get install -y --no-install-recommends "${missing[@]}" ||
        die "apt-get could not install: ${missing[*]}"
}

# --- tool chains -------------------------------------------------------------------------------------------

# rustup puts cargo where a non-login shell does not look.
find_cargo() {
    have cargo && return 0
    if [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        export PATH
        return 0
    fi
    return 1
}

rust_version() { rustc --version 2>/dev/null | cut -d ' ' -f 2; }

rust_is_ready() { find_cargo && version_at_least "$(rust_version)" "$MIN_RUST"; }

need_rust() { rust_is_ready || die "Rust $MIN_RUST or newer is needed; run scripts/setup build"; }

node_is_ready() {
    have npm && have node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$MIN_NODE" ]
}

need_node() { node_is_ready || die "Node.js $MIN_NODE or newer with npm is needed; run scripts/setup demo"; }

# --- work that is skipped when nothing changed -------------------------------------------------------------

# One checksum over the contents and names of the files in the given files and directories.
checksum() {
    find "$@" -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -print0 |
        sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1
}

# unchanged STAMP SUM: whether the stamp file holds this checksum.
unchanged() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# npm_install DIR: `npm ci`, unless node_modules belongs to this lock file already.
npm_install() {
    local dir="$1" sum stamp="$1/node_modules/.installed"
    need_node
    sum="$(checksum "$dir/package.json" "$dir/package-lock.json")"
    unchanged "$stamp" "$sum" && return 0
    say "npm ci in ${dir#"$ROOT"/}"
    npm --prefix "$dir" ci --no-audit --no-fund --loglevel=error ||
        die "npm ci failed in $dir; is the npm registry reachable?"
    printf '%s\n' "$sum" >"$stamp"
}

# Builds web/dist when web/ changed.
build_page() {
    local web="$ROOT/web" stamp="$ROOT/web/dist/.built" sum
    sum="$(checksum "$web")"
    if unchanged "$stamp" "$sum"; then
        say "page is up to date: web/dist"
        return 0
    fi
    npm_install "$web"
    npm --prefix "$web" run --silent build || die "building the page failed"
    printf '%s\n' "$sum" >"$stamp"
    say "page built: web/dist"
}

# --- GStreamer ---------------------------------------------------------------------------------------------

# stage_plugin PROFILE: a directory with nothing but our plugin, for GST_PLUGIN_PATH. Cargo's own directory also
# holds proc-macros, which GStreamer's scanner would try to load as plugins.
stage_plugin() {
    local dir name=libgstmeteredwebrtc.so
    dir="$(target_dir)/plugin-$1"
    mkdir -p "$dir"
    cp -f --preserve=timestamps "$(target_dir)/$1/$name" "$dir/$name.new"
    mv -f "$dir/$name.new" "$dir/$name"
    printf '%s\n' "$dir"
}

# use_plugin DIR REGISTRY: this shell's GStreamer programs find the plugin and keep their own registry.
use_plugin() {
    export GST_PLUGIN_PATH="$1${GST_PLUGIN_PATH:+:$GST_PLUGIN_PATH}"
    export GST_REGISTRY="$2"
}

# --- child processes ---------------------------------------------------------------------------------------

# start_child LOG COMMAND...: runs it in the background in its own session, so that a Ctrl-C meant for the script
# does not reach it first, and ends it when the script dies without a trap. Sets CHILD to its process id.
start_child() {
    local log="$1"
    shift
    setsid setpriv --pdeathsig INT -- "$@" </dev/null >"$log" 2>&1 &
    # shellcheck disable=SC2034
    CHILD=$!
}

child_alive() { kill -0 "$1" 2>/dev/null; }

# wait_exit PID SECONDS: whether it ended in time.
wait_exit() {
    local deadline=$((SECONDS + $2))
    while child_alive "$1"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# stop_child PID SIGNAL SECONDS: asks, waits, then kills. Returns its exit status, 137 if it had to be killed.
stop_child() {
    local pid="$1" status=0
    kill "-$2" "$pid" 2>/dev/null || true
    if ! wait_exit "$pid" "$3"; then
        kill -KILL "$pid" 2>/dev/null || true
    fi
    wait "$pid" 2>/dev/null || status=$?
    return "$status"
}

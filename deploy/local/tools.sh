#!/usr/bin/env bash
# What a bare machine lacks to build and run: a C compiler for ring, and ps for stack.sh. Rust itself is for the person to
# install. Installs as root on Debian and Ubuntu, elsewhere says what is missing.
set -euo pipefail

say() { printf '%s\n' "tools: $*" >&2; }
die() { say "$*"; exit 1; }

command -v cargo >/dev/null || die "cargo is not found: install Rust (https://rustup.rs), then open a new shell"

missing=()
command -v cc >/dev/null || missing+=(build-essential)
command -v ps >/dev/null || missing+=(procps)
[[ -e /etc/ssl/certs/ca-certificates.crt || $(uname -s) != Linux || -d /etc/pki ]] || missing+=(ca-certificates)
if [[ ${#missing[@]} -eq 0 ]]; then exit 0; fi

if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
  die "missing: ${missing[*]} (named as Debian packages); install them, as root: apt-get install ${missing[*]}"
fi
say "installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{
  timeout 900 apt-get update
  DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -y --no-install-recommends "${missing[@]}"
} >"$log" 2>&1 || {
  tail -n 20 "$log" >&2
  die "installation failed"
}

#!/usr/bin/env bash
# Formatting and clippy. A Rust without the two components gets them from rustup; where that is impossible a check is left
# out and says so.
set -euo pipefail
cd "$(dirname "$0")/../.."

have() { cargo "$1" --version >/dev/null 2>&1; }

obtain() { # subcommand component
  have "$1" && return 0
  if command -v rustup >/dev/null; then
    printf 'lint: adding %s\n' "$2" >&2
    rustup component add "$2" >&2 || true
  fi
  have "$1" && return 0
  printf 'lint: SKIPPED cargo %s: this Rust has no %s and rustup cannot add it\n' "$1" "$2" >&2
  return 1
}

if obtain fmt rustfmt; then
  echo '--> cargo fmt --check'
  cargo fmt --all --check
fi
if obtain clippy clippy; then
  echo '--> cargo clippy'
  cargo clippy --workspace --all-targets --quiet -- -D warnings
fi

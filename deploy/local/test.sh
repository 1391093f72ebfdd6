#!/usr/bin/env bash
# Checks, then every test against a broker and a database of its own, in a directory of its own, with ports of
# its own. They are stopped and deleted at the end, whatever happens.
set -euo pipefail
cd "$(dirname "$0")/../.."

deploy/local/lint.sh

dir=$(mktemp -d "${TMPDIR:-/tmp}/carillon-test.XXXXXX")
finish() {
  local code=$?
  trap - EXIT INT TERM
  deploy/local/stack.sh stop "$dir" --wipe || code=1
  rm -rf "$dir"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Settings of the person who runs this are not part of the test.
while IFS='=' read -r name _; do
  [[ $name != CARILLON_* ]] || unset "$name"
done < <(env)

deploy/local/stack.sh start "$dir"
eval "$(deploy/local/stack.sh env "$dir")"

# Everything at once: built apart, the services would be compiled a second time with the features that only tests need.
echo '--> cargo build'
cargo build --workspace --all-targets
echo '--> cargo test'
cargo test --workspace "$@"

#!/usr/bin/env bash
# Builds the images of deploy/Dockerfile (target `prebuilt`) from binaries of this checkout, without a container registry,
# and runs each one read-only, without rights, as user 65532. `make image` calls this.
#
# usage: deploy/image.sh [--profile release|dev] [--no-build] [--no-run] [BINARY...]
#
# Without names: every service and `carillon`. The images stay as localhost/carillon/BINARY:dev and as OCI archives under
# target/image/. Needs buildah, and podman with runc to run them; installs them where apt-get is there and we are root.
set -euo pipefail

cd "$(dirname "$0")/.."
readonly HERE=$PWD OUT=$PWD/target/image DIST=target/dist
readonly ALL=(ingest-api segmenter dispatcher-apns dispatcher-fcm dispatcher-webpush status-collector sms-cascade carillon)
# Its name says which recipe it was made by, so that a changed one makes a new image.
BASE=localhost/carillon/base:$(sha256sum deploy/rootfs.sh | cut -c1-12)
readonly BASE

PROFILE=release
BUILD=yes
RUN=yes

say() { echo "image.sh: $*" >&2; }
die() {
  say "$*"
  exit 1
}

main() {
  local names=()
  while (($# > 0)); do
    case $1 in
      --profile) PROFILE=${2:?--profile needs a name} && shift 2 ;;
      --no-build) BUILD=no && shift ;;
      --no-run) RUN=no && shift ;;
      -*) die "unknown option $1" ;;
      *) names+=("$1") && shift ;;
    esac
  done
  ((${#names[@]} > 0)) || names=("${ALL[@]}")
  need_tools
  configure_tools
  collect "${names[@]}"
  base_image
  local name
  for name in "${names[@]}"; do
    build "$name"
    [[ $RUN == no ]] || try "$name"
  done
  say "${#names[@]} images, archives in $OUT"
}

need_tools() {
  local missing=()
  command -v buildah >/dev/null || missing+=(buildah)
  if [[ $RUN == yes ]]; then
    command -v podman >/dev/null || missing+=(podman)
    command -v runc >/dev/null || missing+=(runc)
    command -v catatonit >/dev/null || missing+=(catatonit)
  fi
  ((${#missing[@]} > 0)) || return 0
  [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || die "please install ${missing[*]}"
  say "installing ${missing[*]}"
  timeout 300 apt-get update -qq >"$OUT.apt.log" 2>&1 || true
  DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >>"$OUT.apt.log" 2>&1 || die "installing failed: $OUT.apt.log"
}

# A store of our own: the machine's images and settings are neither read nor changed. vfs works in any file system.
configure_tools() {
  mkdir -p "$OUT/etc" "$OUT/run"
  cat >"$OUT/etc/storage.conf" <<CONF
[storage]
driver = "vfs"
graphroot = "$OUT/store"
runroot = "$OUT/run"
CONF
  cat >"$OUT/etc/containers.conf" <<'CONF'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
  echo 'unqualified-search-registries = []' >"$OUT/etc/registries.conf"
  echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$OUT/etc/policy.json"
  export CONTAINERS_STORAGE_CONF=$OUT/etc/storage.conf CONTAINERS_CONF=$OUT/etc/containers.conf
  export CONTAINERS_REGISTRIES_CONF=$OUT/etc/registries.conf
}

# The build context takes target/dist and nothing else of target/.
collect() {
  local folder=$PROFILE name
  [[ $PROFILE != dev ]] || folder=debug
  if [[ $BUILD == yes ]]; then
    cargo build --locked --profile "$PROFILE" --bins "${@/#/--package=}" || die "the binaries do not build"
  fi
  rm -rf "$DIST"
  mkdir -p "$DIST"
  for name in "$@"; do
    [[ -x target/$folder/$name ]] || die "target/$folder/$name is not there"
    # Without symbols: a binary in an image is not debugged in place.
    strip --strip-all -o "$DIST/$name" "target/$folder/$name" 2>/dev/null || cp "target/$folder/$name" "$DIST/$name"
  done
}

base_image() {
  if buildah inspect --type image "$BASE" >/dev/null 2>&1; then return; fi
  say "base image from Debian packages"
  rm -rf "$OUT/rootfs"
  sh deploy/rootfs.sh "$OUT/rootfs"
  printf 'FROM scratch\nCOPY rootfs/ /\n' >"$OUT/Dockerfile.base"
  buildah_build -f "$OUT/Dockerfile.base" -t "$BASE" "$OUT"
}

buildah_build() {
  buildah bud --quiet --isolation chroot --signature-policy "$OUT/etc/policy.json" --pull-never --timestamp 0 "$@" \
    >"$OUT/build.log" 2>&1 || { cat "$OUT/build.log" >&2 && die "buildah failed"; }
}

build() {
  local name=$1 tag=localhost/carillon/$1:dev revision
  revision=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  buildah_build -f deploy/Dockerfile --target prebuilt --build-arg "RUNTIME_BASE=$BASE" --build-arg "BIN=$name" \
    --build-arg "DIST=$DIST" --build-arg "REVISION=$revision" -t "$tag" "$HERE"
  rm -f "$OUT/$name.tar"
  buildah push --quiet --signature-policy "$OUT/etc/policy.json" "$tag" "oci-archive:$OUT/$name.tar:carillon/$name:dev" \
    >"$OUT/push.log" 2>&1 || { cat "$OUT/push.log" >&2 && die "no archive of $name"; }
  say "$name: $(du -h "$OUT/$name.tar" | cut -f1)"
}

# As the chart and compose.yaml confine it.
contained() {
  podman run --network none --read-only --cap-drop=all --security-opt no-new-privileges --user 65532:65532 --pull never "$@"
}

# The binary answers with its version in the confinement that the chart gives it; then the image itself is looked at.
try() {
  local name=$1 tag=localhost/carillon/$1:dev said user
  said=$(contained --rm "$tag" --version) || die "$name does not run read-only as 65532"
  [[ $said == *[0-9].[0-9]* ]] || die "$name --version said: $said"
  user=$(podman image inspect --format '{{.Config.User}}' "$tag")
  [[ $user == 65532:65532 ]] || die "$name: the image's user is '$user'"
  if contained --rm --entrypoint /bin/sh "$tag" -c true 2>/dev/null; then die "$name: the image has a shell"; fi
  say "$name: $said, as 65532, read-only, no shell"
  [[ $name == carillon || $name == provider-sim ]] || try_life "$name" "$tag"
}

# A service comes up without broker and database, holds no rights, and ends cleanly on SIGTERM although it is process 1.
try_life() {
  local name=$1 tag=$2 id pid code rights end=$((SECONDS + 30))
  id=$(contained --detach \
    --env CARILLON_AMQP__URL=amqp://x:x@127.0.0.1:1/%2f --env CARILLON_DATABASE__URL=postgres://x:x@127.0.0.1:1/x \
    --env CARILLON_SECRETS__KEY=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= --env CARILLON_INTERNAL__TOKEN=x \
    --env CARILLON_LEDGER__URL=http://127.0.0.1:2 "$tag") || die "$name does not start"
  until podman logs "$id" 2>&1 | grep -q '"started"'; do
    ((SECONDS < end)) || { podman logs "$id" >&2 && podman rm --force "$id" >/dev/null && die "$name does not come up in its image"; }
    sleep 0.2
  done
  pid=$(podman inspect --format '{{.State.Pid}}' "$id")
  rights=$(awk '$1 == "CapEff:" || $1 == "NoNewPrivs:" || $1 == "Seccomp:" { printf "%s%s ", $1, $2 }' "/proc/$pid/status")
  podman stop --time 30 "$id" >/dev/null
  code=$(podman inspect --format '{{.State.ExitCode}}' "$id")
  podman rm --force "$id" >/dev/null
  [[ $code == 0 ]] || die "$name ended with $code on SIGTERM"
  [[ $rights == "CapEff:0000000000000000 NoNewPrivs:1 Seccomp:2 " ]] || die "$name holds rights: $rights"
}

mkdir -p "$OUT"
main "$@"

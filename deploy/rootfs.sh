#!/bin/sh
# Makes the root file system that every image starts from: glibc, libgcc, certificate authorities, time zones, and nothing
# that could run: no shell, no package manager. Debian's packages are unpacked, not installed; neither root nor a container
# is needed.
#
# usage: deploy/rootfs.sh DIRECTORY
set -eu

root=${1:?usage: deploy/rootfs.sh DIRECTORY}
packages="libc6 libgcc-s1 ca-certificates tzdata"

say() { echo "rootfs.sh: $*" >&2; }

mkdir -p "$root"
root=$(cd "$root" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# The lists of an image that was just pulled are empty.
cd "$work"
# shellcheck disable=SC2086 # a list of names
if ! apt-get download $packages >download.log 2>&1; then
  say "the package lists are refreshed"
  timeout 300 apt-get update >update.log 2>&1 || { cat update.log >&2; exit 1; }
  # shellcheck disable=SC2086
  timeout 300 apt-get download $packages >download.log 2>&1 || { cat download.log >&2; exit 1; }
fi
mkdir unpacked
for package in ./*.deb; do dpkg-deb -x "$package" unpacked; done

# What a program opens at run time. Character set converters, locales and programs stay behind.
cd unpacked
rm -rf bin sbin usr/bin usr/sbin usr/lib/*/gconv usr/lib/*/audit usr/lib/locale usr/share/locale
mkdir -p usr/share/copyright
for package in $packages; do
  # libgcc's is a link into the package of its compiler's base files.
  if [ -e "usr/share/doc/$package/copyright" ]; then
    cp "usr/share/doc/$package/copyright" "usr/share/copyright/$package"
  else
    owner=$(basename "$(readlink "usr/share/doc/$package")")
    (cd "$work" && timeout 300 apt-get download "$owner" >>download.log 2>&1)
    dpkg-deb --fsys-tarfile "$work/$owner"_*.deb | tar -xO "./usr/share/doc/$owner/copyright" >"usr/share/copyright/$package"
  fi
done
rm -rf usr/share/doc usr/share/man usr/share/lintian usr/share/zoneinfo/right
cat usr/share/ca-certificates/mozilla/*.crt >"$work/ca.pem"
rm -rf usr/share/ca-certificates etc/ca-certificates* etc/ssl
mkdir -p etc/ssl/certs home/carillon tmp
cp "$work/ca.pem" etc/ssl/certs/ca-certificates.crt
echo 'carillon:x:65532:65532:carillon:/home/carillon:/nonexistent' >etc/passwd
echo 'carillon:x:65532:' >etc/group
echo 'hosts: files dns' >etc/nsswitch.conf
chmod 1777 tmp
find . -exec touch -h -d @0 {} +
cp -a . "$root"/
say "$(du -sh "$root" | cut -f1) in $root"

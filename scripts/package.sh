#!/bin/sh
# package.sh [--from PREFIX] [--to DIR] — makes DIR/stigmer_VERSION_ARCH.deb (default ./out) of an installed
# tree, or of one that it builds. The same tree gives the same bytes. Prints the package's path.
set -eu
cd "$(dirname "$0")/.."
from='' to=out
while [ $# -gt 0 ]; do
    case $1 in
    --from | --to)
        [ $# -ge 2 ] || { echo "package: error: $1 needs a folder" >&2; exit 2; }
        if [ "$1" = --from ]; then from=$2; else to=$2; fi
        shift 2
        ;;
    *)
        echo "usage: scripts/package.sh [--from PREFIX] [--to DIR]" >&2
        exit 2
        ;;
    esac
done
say() { echo "package: $*" >&2; }
for tool in dpkg-deb dpkg-shlibdeps gzip; do
    command -v $tool >/dev/null 2>&1 || { say "error: $tool is missing: apt-get install dpkg-dev"; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
if [ -z "$from" ]; then
    from=$work/prefix
    scripts/build.sh --prefix "$from"
fi
from=$(cd "$from" && pwd)
version=$("$from/bin/stigmer" version | cut -d' ' -f2)
arch=$(dpkg --print-architecture)
# Of the last commit; of the program where there is no history.
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y "$from/bin/stigmer")}"
export SOURCE_DATE_EPOCH

root=$work/root doc=$work/root/usr/share/doc/stigmer
mkdir -p "$root/usr" "$root/DEBIAN" "$doc" "$root/usr/lib/systemd/system" "$root/usr/lib/systemd/user"
cp -R "$from/bin" "$from/libexec" "$from/share" "$root/usr/"
mv "$root/usr/share/stigmer/examples" "$doc/examples"
find "$root/usr/share/man" -type f -exec gzip -9n {} +

# Units as `server install` writes them, for the place where the package puts the program.
unit() { # unit FLAG HOME NAME
    HOME=/root "$from/bin/stigmer" --home "$2" server install "$1" --print |
        sed -e '/^# Made by/d' -e "s|\"$from/bin/stigmer\"|/usr/bin/stigmer|" -e "s|\"$2\"|$2|" |
        awk -v name="$3" '/^# \// { on = ($0 ~ name "$"); next } on'
}
unit --system /var/lib/stigmer/home stigmer.service >"$root/usr/lib/systemd/system/stigmer.service"
unit --system /var/lib/stigmer/home stigmer.socket >"$root/usr/lib/systemd/system/stigmer.socket"
unit --user /nowhere stigmer.service | sed 's|--home /nowhere |--home %h/.stigmer |' >"$root/usr/lib/systemd/user/stigmer.service"
sed -i 's|^\[Service\]|[Service]\nStateDirectory=stigmer|' "$root/usr/lib/systemd/system/stigmer.service"
grep -q '^ExecStart=/usr/bin/stigmer ' "$root/usr/lib/systemd/system/stigmer.service" ||
    { say "error: the unit does not name /usr/bin/stigmer"; exit 1; }

cat >"$doc/copyright" <<EOT
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Stigmer
Source: https://github.com/stigmer/stigmer

Files: *
Copyright: 2026 The Stigmer authors
License: Apache-2.0

License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.
EOT
printf 'stigmer (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- The Stigmer authors <maintainers@stigmer.ai>  %s\n' \
    "$version" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")" >"$doc/changelog.tmp"
gzip -9n <"$doc/changelog.tmp" >"$doc/changelog.gz"
rm "$doc/changelog.tmp"
gzip -9n <CHANGELOG.md >"$doc/CHANGELOG.md.gz"
mkdir -p "$root/usr/share/lintian/overrides"
cat >"$root/usr/share/lintian/overrides/stigmer" <<'EOT'
# The runner is static on purpose: it is mounted into other people's images. So is the keeper, which
# must weigh little.
stigmer: statically-linked-binary
stigmer: embedded-library
EOT

# Which libraries' packages the two dynamic programs need.
mkdir -p "$work/debian"
printf 'Source: stigmer\n\nPackage: stigmer\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O --ignore-missing-info "$root/usr/bin/stigmer" \
    "$root/usr/libexec/stigmer/stigmer-server" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || { say "error: the libraries' packages cannot be found"; exit 1; }
size=$(du -sk "$root/usr" | cut -f1)
cat >"$root/DEBIAN/control" <<EOT
Package: stigmer
Version: $version
Architecture: $arch
Maintainer: The Stigmer authors <maintainers@stigmer.ai>
Installed-Size: $size
Depends: $depends, ca-certificates
Recommends: docker.io | podman
Section: utils
Priority: optional
Homepage: https://stigmer.ai
Description: runs AI agents on your own machine, durably, in a sandbox
 Stigmer brings up a local stack: an API server with a durable journal, and an
 agent-runner in a container or as a sandboxed process. Agents are given tasks
 from one command line; what they do survives crashes, and their tools are
 confined by Landlock, seccomp and user ids.
EOT
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
find "$root" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch -h -d "@$SOURCE_DATE_EPOCH"
mkdir -p "$to"
dpkg-deb --root-owner-group -Zxz --uniform-compression --build "$root" "$to/stigmer_${version}_$arch.deb" >&2
echo "$to/stigmer_${version}_$arch.deb"

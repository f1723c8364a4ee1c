#!/bin/sh
# rootfs.sh RUNNER OUT.tar — the files of the runner's image as one tar archive. RUNNER must be a
# static program. The same inputs give the same bytes: names sorted, times and owners fixed.
set -eu
[ $# -eq 2 ] || { echo "usage: image/rootfs.sh RUNNER OUT.tar" >&2; exit 2; }
runner=$1 out=$2
busybox=${STIGMER_BUSYBOX:-/bin/busybox}
bundle=${STIGMER_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
say() { echo "rootfs: error: $*" >&2; exit 1; }

[ -f "$runner" ] || say "there is no '$runner'; scripts/build.sh makes it"
! readelf -l "$runner" 2>/dev/null | grep -q INTERP || say "'$runner' is not static"
[ -x "$busybox" ] || say "there is no '$busybox'; apt-get install busybox-static"
! readelf -l "$busybox" 2>/dev/null | grep -q INTERP || say "'$busybox' is not static; apt-get install busybox-static"
[ -s "$bundle" ] || say "there is no CA bundle '$bundle'; apt-get install ca-certificates"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
cd "$root"
mkdir -p bin dev etc/ssl/certs home proc root run/stigmer/api run/stigmer/keys sys tmp usr/bin usr/sbin \
    usr/local/bin var/tmp workspace
ln -s usr/sbin sbin
chmod 1777 tmp var/tmp # Docker hides the mode of a tmpfs over a folder that is not there
chmod 700 root

cd - >/dev/null
install -m 755 "$runner" "$root/usr/bin/agent-runner"
install -m 755 "$busybox" "$root/bin/busybox"
install -m 644 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
# Every command that busybox knows, but those that have no meaning for a tool without privileges.
for applet in $("$busybox" --list); do
    case $applet in
    busybox | su | sulogin | login | passwd | init | halt | poweroff | reboot | getty) continue ;;
    esac
    ln -s busybox "$root/bin/$applet"
done
for name in env awk find; do ln -s /bin/busybox "$root/usr/bin/$name"; done # as scripts' first lines have them
ln -s certs/ca-certificates.crt "$root/etc/ssl/cert.pem"
cat > "$root/etc/passwd" <<'EOT'
root:x:0:0:root:/root:/bin/sh
runner:x:10001:10001:agent-runner worker:/:/bin/false
sandbox:x:10002:10002:tools of agents:/workspace:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
EOT
cat > "$root/etc/group" <<'EOT'
root:x:0:
runner:x:10001:
sandbox:x:10002:
nogroup:x:65534:
EOT
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
printf 'NAME="stigmer agent-runner"\nID=stigmer-agent-runner\n' > "$root/etc/os-release"
chmod 644 "$root"/etc/passwd "$root"/etc/group "$root"/etc/nsswitch.conf "$root"/etc/os-release

tar -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -cf "$out" .

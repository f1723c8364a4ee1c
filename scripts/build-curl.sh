#!/bin/sh
# build-curl.sh — builds a small static libcurl for the static agent-runner and prints the folder
# it is in (the value of meson's -Dcurl_prefix) as its last line on stdout.
#
# Why not Debian's libcurl.a: it is built with Kerberos, LDAP, SSH, RTMP and PSL, of which several
# have no static library. This one has HTTP and HTTPS (OpenSSL), HTTP/2 (nghttp2) and a resolver
# that works in a static program (c-ares), and nothing else.
#
# The source is Debian's own, security fixes included: `apt-get source curl`, from the machine's
# own Debian mirror, checked by apt against the archive's signed index and by dpkg-source against
# the .dsc. The machine's apt configuration and package lists are left alone.
#
# Needs (scripts/setup.sh installs them): gcc libc6-dev make dpkg-dev patch xz-utils pkg-config
# libssl-dev libnghttp2-dev libc-ares-dev ca-certificates. Not root. A second run finds the result
# of the first and needs no network.
set -eu
umask 022

configure_options="--disable-shared --enable-static --disable-dependency-tracking
 --with-openssl --with-nghttp2 --enable-ares
 --with-ca-bundle=/etc/ssl/certs/ca-certificates.crt --without-ca-path --without-ca-fallback
 --enable-http --disable-ftp --disable-file --disable-ldap --disable-ldaps --disable-rtsp
 --disable-dict --disable-telnet --disable-tftp --disable-pop3 --disable-imap --disable-smb
 --disable-smtp --disable-gopher --disable-mqtt --disable-websockets
 --disable-manual --disable-libcurl-option --disable-sspi --disable-ntlm --disable-ntlm-wb
 --disable-tls-srp --disable-alt-svc --disable-hsts --disable-cookies --disable-netrc
 --disable-doh --disable-dnsshuffle --disable-aws --disable-kerberos-auth --disable-negotiate-auth
 --enable-unix-sockets
 --without-zlib --without-brotli --without-zstd --without-libpsl --without-libidn2
 --without-librtmp --without-libssh2 --without-libssh --without-libgsasl --without-gssapi
 --without-nghttp3 --without-ngtcp2 --without-quiche"
compile_options="-O2 -g0 -fPIC -ffunction-sections -fdata-sections -fstack-protector-strong -D_FORTIFY_SOURCE=2"

say() { echo "build-curl: $*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

for tool in gcc make patch xz dpkg-source apt-get pkg-config; do
    command -v "$tool" >/dev/null 2>&1 || fail "$tool is missing; run scripts/setup.sh"
done
for lib in openssl libnghttp2 libcares; do
    pkg-config --exists "$lib" || fail "the development files of $lib are missing; run scripts/setup.sh"
done

cache=${STIGMER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/stigmer}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
# What the result depends on besides curl's source: this recipe, the compiler, the libraries.
recipe=$({
    echo "$configure_options $compile_options"
    gcc -dumpfullversion -dumpmachine
    pkg-config --modversion openssl libnghttp2 libcares
} | sha256sum | cut -c1-12)

prefix_of() { echo "$cache/curl-$(echo "$1" | tr ':~' '__')-$recipe"; }
is_built() { [ -f "$1/lib/libcurl.a" ] && [ -f "$1/complete" ]; }

# The version whose headers the rest of the build sees, where Debian's package is installed.
want=$(dpkg-query -W -f '${source:Version}' libcurl4-openssl-dev 2>/dev/null || true)
if [ -n "$want" ] && is_built "$(prefix_of "$want")"; then
    say "found $(prefix_of "$want")"
    prefix_of "$want"
    exit 0
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/stigmer-curl.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
chmod 755 "$work"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources" "$work/src"

# ---- the machine's Debian sources, with deb-src in place of deb --------------------------------
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$codename" ] || fail "/etc/os-release names no VERSION_CODENAME; this script knows Debian only"

# Only Debian's own archives: the right suite, component main. Two formats are in use.
one_line() { # deb [options] URI SUITE COMPONENT…
    awk -v c="$codename" '
    $1 == "deb" {
        i = 2
        if ($2 ~ /^\[/) { while ($i !~ /\]$/ && i < NF) i++; i++ }
        s = $(i + 1); main = 0
        for (k = i + 2; k <= NF; k++) main = main || $k == "main"
        if (main && (s == c || s == c "-updates" || s == c "-security" || s == c "/updates")) {
            sub(/deb/, "deb-src"); print
        }
    }' "$@"
}
deb822() { # stanzas of "Key: value"
    awk -v c="$codename" '
    BEGIN { RS = ""; FS = "\n" }
    {
        out = ""; types = suites = main = off = 0
        for (i = 1; i <= NF; i++) {
            line = $i
            if (line ~ /^#/) continue
            key = tolower(line); sub(/:.*/, "", key)
            if (key == "types") { types = line ~ /[ :]deb( |$)/; line = "Types: deb-src" }
            if (key == "enabled" && line ~ /no/) off = 1
            if (key == "components") main = line ~ /[ :]main( |$)/
            if (key == "suites") {
                n = split(line, w, /[ :]+/)
                for (k = 2; k <= n; k++)
                    suites = suites || w[k] == c || w[k] == c "-updates" || w[k] == c "-security"
            }
            out = out line "\n"
        }
        if (types && suites && main && !off) print out
    }' "$@"
}
etc=/etc/apt
for f in "$etc/sources.list" "$etc"/sources.list.d/*.list; do
    [ ! -f "$f" ] || one_line "$f" >>"$work/sources/debian.list"
done
for f in "$etc"/sources.list.d/*.sources; do
    [ ! -f "$f" ] || { deb822 "$f"; echo; } >>"$work/sources/debian.sources"
done
grep -qs deb-src "$work"/sources/* ||
    fail "no Debian archive for $codename in /etc/apt/sources.list or /etc/apt/sources.list.d"

apt() {
    apt-get -q -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/sources" \
        -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Get::List-Cleanup=0 \
        -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 -o Acquire::Languages=none "$@"
}

# ---- fetch ---------------------------------------------------------------------------------------
say "fetching the source lists of Debian $codename"
apt update >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "apt-get update failed"; }
cd "$work/src"
say "fetching curl's source package ${want:+($want)}"
if [ -z "$want" ] || ! apt source --download-only "curl=$want" >"$work/log" 2>&1; then
    [ -z "$want" ] || say "the archive no longer has $want; taking its newest"
    rm -f ./*
    apt source --download-only curl >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; fail "apt-get source curl failed"; }
fi
dsc=$(ls curl_*.dsc)
version=$(sed -n 's/^Version: //p' "$dsc" | head -n 1)
prefix=$(prefix_of "$version")
if is_built "$prefix"; then
    say "found $prefix"
    echo "$prefix"
    exit 0
fi

# ---- build ---------------------------------------------------------------------------------------
say "unpacking curl $version with Debian's patches"
dpkg-source --require-strong-checksums -x "$dsc" curl >"$work/log" 2>&1 ||
    { cat "$work/log" >&2; fail "dpkg-source failed"; }
cd curl
# Debian's patches touch files that the shipped ./configure was made from; it serves us as it is.
touch aclocal.m4
find . -name Makefile.in -exec touch {} +
touch configure lib/curl_config.h.in

say "configuring"
CFLAGS=$compile_options ./configure --prefix="$prefix" $configure_options >"$work/log" 2>&1 ||
    { tail -n 40 "$work/log" >&2; fail "configure failed"; }
say "compiling (about a minute)"
make -C lib -j"$(nproc)" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "make failed"; }

# Whole or not at all: a folder without the mark is not used.
rm -rf "$prefix"
{ make -C lib install && make -C include install; } >"$work/log" 2>&1 ||
    { tail -n 40 "$work/log" >&2; fail "make install failed"; }
cp COPYING "$prefix/COPYING"
echo "$version" >"$prefix/complete"
say "built $prefix"
echo "$prefix"

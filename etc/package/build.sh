#!/bin/sh
# Makes a package: build.sh deb|rpm ARCH. ARCH is Go's name: amd64, arm64 or arm. The package is in dist/.
# Two builds of one commit are equal: all times are that of the commit.
set -eu
kind=$1 arch=$2
: "${GO:=go}" "${VERSION:=$(git describe --tags --always --dirty 2>/dev/null || echo devel)}"
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2>/dev/null || echo 0)}"
# A package's version begins with a digit; a commit without a tag gives none.
case "${VERSION#v}" in
[0-9]*.*) version=${VERSION#v} ;;
*) version=0.0.0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$VERSION ;;
esac
version=$(printf %s "$version" | tr '_-' '..')
ROOT=$(mktemp -d)
trap 'rm -rf "$ROOT"' EXIT

build() { # GOARCH FILE
	CGO_ENABLED=0 GOOS=linux GOARCH=$1 GOARM=7 "$GO" build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X main.version=$VERSION" -o "$2" ./cmd/pillarbox
}
umask 022
share=$ROOT/usr/share
mkdir -p "$ROOT/usr/bin" "$share/man/man1" "$share/doc/pillarbox/etc/docs" "$ROOT/usr/lib/systemd/system"
build "$arch" "$ROOT/usr/bin/pillarbox"
own=$ROOT/usr/bin/pillarbox
if [ "$arch" != "$("$GO" env GOHOSTARCH)" ]; then # pages and completions come from a program that runs here
	own=$(mktemp)
	build "$("$GO" env GOHOSTARCH)" "$own"
fi
export SOURCE_DATE_EPOCH
"$own" man "$share/man/man1"
gzip -9n "$share/man/man1"/*.1
for shell in bash:bash-completion/completions/pillarbox zsh:zsh/vendor-completions/_pillarbox \
	fish:fish/vendor_completions.d/pillarbox.fish; do
	file=$share/${shell#*:}
	mkdir -p "${file%/*}"
	"$own" completion "${shell%%:*}" >"$file"
done
[ "$own" = "$ROOT/usr/bin/pillarbox" ] || rm -f "$own"

doc=$share/doc/pillarbox
cp README.md "$doc/"
cp etc/docs/*.md "$doc/etc/docs/"
cp etc/pillarbox.toml "$doc/etc/"
cp etc/package/copyright "$doc/copyright"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
sed 's|@PREFIX@|/usr|' etc/systemd/pillarbox.service >"$ROOT/usr/lib/systemd/system/pillarbox.service"
cp etc/systemd/pillarbox.socket "$ROOT/usr/lib/systemd/system/"
if [ "$kind" = deb ]; then # Debian 12 has its units in /lib
	mkdir -p "$ROOT/lib/systemd"
	mv "$ROOT/usr/lib/systemd/system" "$ROOT/lib/systemd/system"
	rm -r "$ROOT/usr/lib"
	mkdir -p "$share/lintian/overrides"
	cp etc/package/lintian-overrides "$share/lintian/overrides/pillarbox"
fi
find "$ROOT" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p dist
export ROOT VERSION="$version" ARCH="$arch"
[ "$arch" != arm ] || export ARCH=arm7
"$GO" run "github.com/goreleaser/nfpm/v2/cmd/nfpm@$NFPM" package --config etc/package/nfpm.yaml --packager "$kind" --target dist/

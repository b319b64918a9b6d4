#!/bin/sh
# Cuts the power of a virtual machine while it receives mail, and looks at what it holds afterwards (package
# etc/lab/crash says how). "make crash" runs this. It needs no rights: QEMU runs without KVM, and a Debian kernel is
# unpacked below var/crash, not installed, unless PILLARBOX_CRASH_KERNEL names one.
set -eu
cd "$(dirname "$0")/../.."

skip() {
	echo "make crash: skipped: $*"
	exit 0
}

# newest prints the last kernel below a root directory that has its modules beside it.
newest() {
	for kernel in "$1"/boot/vmlinuz-*; do
		[ -r "$kernel" ] && [ -d "$1/lib/modules/${kernel##*/vmlinuz-}" ] && echo "$kernel"
	done | sort -V | tail -n 1
}

# unpack gets the small kernel for virtual machines.
unpack() {
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
	package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
	[ -n "$package" ] || return 1
	mkdir -p var/crash
	(cd var/crash && apt-get -qq download "$package" && dpkg-deb -x "$package"_*.deb . && rm -f "$package"_*.deb)
}

[ "$(uname -m)" = x86_64 ] || skip "the virtual machine is an amd64 one, this is $(uname -m)"
command -v qemu-system-x86_64 >/dev/null || skip "no QEMU (Debian: apt install --no-install-recommends qemu-system-x86)"
command -v mkfs.ext4 >/dev/null || skip "no mkfs.ext4 (Debian: apt install e2fsprogs)"

kernel=${PILLARBOX_CRASH_KERNEL:-$(newest var/crash)}
[ -n "$kernel" ] || kernel=$(newest "")
if [ -z "$kernel" ]; then
	unpack || skip "no kernel: none in /boot, and apt could not fetch linux-image-cloud-amd64"
	kernel=$(newest var/crash)
fi
[ -r "$kernel" ] || skip "cannot read the kernel $kernel"
kernel=$(cd "$(dirname "$kernel")" && pwd)/${kernel##*/}

echo "power cuts with $kernel"
PILLARBOX_CRASH_KERNEL=$kernel exec "${GO:-go}" test -tags crash -count=1 -v -timeout 60m ./etc/lab/crash

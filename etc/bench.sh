#!/bin/sh
# Measures the server beside bare loops; "make bench" runs this. Where messages go decides half of the figures: if TMPDIR
# is not set, and this is root, and a file system can be mounted from a file, it is a journaled ext4 made for the purpose,
# so that figures of different machines can be compared. Otherwise it is TMPDIR, or /tmp.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

mounted=
unmount() { [ -z "$mounted" ] || { umount "$mounted" && rm -f var/bench/image && rmdir "$mounted"; }; }
trap unmount EXIT INT TERM

if [ -z "${TMPDIR:-}" ] && [ "$(id -u)" = 0 ] && command -v mkfs.ext4 >/dev/null; then
	mkdir -p var/bench/disk
	truncate -s 6G var/bench/image
	mkfs.ext4 -q -F var/bench/image
	if mount -o loop var/bench/image var/bench/disk 2>/dev/null; then
		mounted=var/bench/disk
		TMPDIR=$PWD/$mounted
	else
		rm -f var/bench/image
	fi
fi
TMPDIR=${TMPDIR:-/tmp}
export TMPDIR
echo "messages go to $TMPDIR ($(stat -f -c %T "$TMPDIR"))"

# As 'pillarbox serve' sets it.
export GOGC="${GOGC:-300}"

# The accept benchmark has a fixed number of messages: the more there are, the more syncs behind it are in the figure.
{
	"$go" test -run='^$' -bench='^(BenchmarkAccept|BenchmarkEvents)$' -benchtime="${BENCHMESSAGES:-20000}x" -timeout=30m ./smtp/server
	"$go" test -run='^$' -bench='^(BenchmarkIdle|BenchmarkPOP3)$' -benchtime="${BENCHTIME:-1s}" -timeout=60m ./smtp/server ./pop3
	"$go" test -run='^$' -bench='^BenchmarkLogIn$' -benchtime="${BENCHTIME:-1s}" -timeout=30m ./cmd/internal/loginbench
	"$go" test -run='^$' -bench='^BenchmarkPage$' -benchtime="${BENCHTIME:-1s}" -timeout=30m ./cmd/internal/pagebench
	"$go" test -run='^$' -bench='^BenchmarkPageLoad$' -benchtime=12000x -timeout=30m ./cmd/internal/pagebench
	if command -v smtp-sink >/dev/null; then
		mkdir -p var/bench && "$go" build -o var/bench/pillarbox ./cmd/pillarbox
		"$go" run ./etc/lab/queuebench -binary var/bench/pillarbox -messages "${BENCHMESSAGES:-20000}" -queued "${BENCHQUEUED:-100000}"
	else
		echo "# the queue is not measured: smtp-sink (Debian's postfix) is not here"
	fi
	"$go" test -run='^$' -bench=. -benchtime="${BENCHTIME:-1s}" -benchmem -timeout=30m ./smtp/policy ./mailstore/... ./quota/...
} 2>&1 | "$go" run ./etc/lab/benchtable

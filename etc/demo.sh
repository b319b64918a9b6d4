#!/bin/sh
# A demonstration office in ./var: set up, tested, and served until Ctrl-C.
# Called by "make run" from the top of the source tree; safe to call again.
set -eu

bin=bin/pillarbox
config=var/pillarbox.toml
passwords=var/passwords.txt

# The passwords are made once and kept where only this user reads them, so that
# a second run shows the same.
mkdir -p var
if [ ! -s "$passwords" ]; then
	(umask 077 && for _ in anna boss; do head -c 9 /dev/urandom | base64 | tr '+/' 'xy'; done >"$passwords")
fi

"$bin" setup office.example --config "$config" --data var/data --port-offset 10000 \
	--mailbox anna --mailbox boss --password-stdin <"$passwords" >var/setup.log
grep -E '^(made|kept)' var/setup.log

"$bin" serve --config "$config" 2>var/pillarbox.log &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT
trap 'exit 0' INT TERM

# The server is ready when it says so; if it ends before, its last words say why.
until grep -qs 'pillarbox is ready' var/pillarbox.log; do
	if ! kill -0 "$server" 2>/dev/null; then
		cat var/pillarbox.log
		exit 1
	fi
	sleep 0.1
done

echo
"$bin" selftest --config "$config"
echo "PASS: a message went through each way in and was read back through each way out."
echo
"$bin" settings anna --config "$config"
echo "  Password of anna                 $(sed -n 1p "$passwords")"
echo "  Password of boss                 $(sed -n 2p "$passwords")"
echo "  Certificate to trust             var/data/tls/ca.pem"
echo
echo "Serving; the log is var/pillarbox.log. Ctrl-C stops."
wait "$server"

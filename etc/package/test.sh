#!/bin/sh
# Tries the package where it will live: in a bare Debian that systemd boots. It installs, sets up, tests,
# upgrades with sessions open, gets a program that does not start, and removes. Run it as root. BASE is a
# Debian made by debootstrap; without it, one is made and removed.
set -eu
: "${GO:=go}" "${SUITE:=bookworm}"
work=$(mktemp -d /var/tmp/pillarbox-package.XXXXXX)
root=$work/root
machine=
clean() {
	[ -z "$machine" ] || { kill "$machine" 2>/dev/null || true; wait "$machine" 2>/dev/null || true; }
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

step() { printf '== %s ==\n' "$*"; }
fail() { echo "FAIL: $*" >&2; exit 1; }
# inside runs a command in the machine.
inside() { nsenter -t "$init" -m -u -i -n -p -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
# deb makes a package of a version and prints its name inside the machine.
deb() {
	VERSION=$1 NFPM=$NFPM GO=$GO sh etc/package/build.sh deb amd64 >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail "no package"; }
	cp "dist/pillarbox_$1_amd64.deb" "$root/"
	echo "/pillarbox_$1_amd64.deb"
}
# selftest sends and fetches a message through every listener.
selftest() { inside pillarbox selftest >"$work/selftest.log" 2>&1 || { cat "$work/selftest.log"; inside journalctl -u pillarbox -n 20; fail "selftest"; }; }
pid() { inside systemctl show -p MainPID --value pillarbox; }

step "a bare Debian"
if [ -n "${BASE:-}" ]; then
	cp -a "$BASE" "$root"
else
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,adduser "$SUITE" "$root" >"$work/debootstrap.log" 2>&1 || {
		tail -5 "$work/debootstrap.log"
		fail debootstrap
	}
fi
first=$(deb 1.0.0)
systemd-nspawn --quiet --register=no --keep-unit --private-network -D "$root" -b </dev/null >"$work/console.log" 2>&1 &
machine=$!
i=0
until init=$(pgrep -P "$machine" 2>/dev/null | head -n 1) && [ -n "$init" ] &&
	inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; do
	i=$((i + 1))
	[ $i -lt 300 ] || { cat "$work/console.log"; fail "systemd does not boot"; }
	sleep 0.2
done

step "install, and one command"
inside dpkg -i "$first" >"$work/install.log" 2>&1 || { cat "$work/install.log"; fail "install"; }
grep -q '^Next: sudo pillarbox setup' "$work/install.log" || fail "the next step is not told"
printf 'correct horse 7 battery\n' | inside pillarbox setup office.example --mailbox anna --password-stdin >"$work/setup.log" 2>&1 || {
	cat "$work/setup.log"
	fail "setup"
}
grep -q 'The server runs' "$work/setup.log" || fail "the server does not run after setup"
selftest
inside systemctl is-enabled pillarbox >/dev/null || fail "the service does not start with the machine"
inside systemctl show -p StatusText --value pillarbox | grep '^serves; ' || fail "no status"
printf 'To: anna@office.example\nSubject: by cron\n\nhello\n' | inside sendmail -t || fail "sendmail"
inside newaliases || fail "newaliases"

step "reload"
inside systemctl reload pillarbox || fail "reload"
inside sh -c 'cp /etc/pillarbox/pillarbox.toml /root/; echo "wrong = 1" >>/etc/pillarbox/pillarbox.toml'
if inside systemctl reload pillarbox 2>/dev/null; then fail "a wrong configuration was reloaded"; fi
inside sh -c 'cp /root/pillarbox.toml /etc/pillarbox/pillarbox.toml'
inside systemctl is-active pillarbox >/dev/null || fail "a wrong configuration stopped the server"

step "upgrade, with mail coming in"
before=$(pid)
# Each message is sent until it is accepted. The machine has no internet, so all of it is local.
inside bash -c 'for i in $(seq 1 200); do
	until printf "To: anna@office.example\nSubject: load %s\n\nx\n" "$i" | sendmail -t 2>/dev/null; do sleep 0.05; done
done' &
load=$!
second=$(deb 2.0.0)
inside dpkg -i "$second" >"$work/upgrade.log" 2>&1 || { cat "$work/upgrade.log"; fail "upgrade"; }
wait "$load"
[ "$(pid)" != "$before" ] || fail "the old program still runs"
inside pillarbox --version | grep -q 2.0.0 || fail "the program is not the new one"
boxes() { inside sh -c 'cat /var/lib/pillarbox/mailbox/office.example/P3_anna.mbx/*.eml'; }
sleep 2 # the log's messages get their files within a second
for i in 1 100 200; do boxes | grep -q "^Subject: load $i.\$" || boxes | grep -q "^Subject: load $i\$" || fail "message $i is lost"; done
[ "$(boxes | grep -c '^Subject: load ')" -ge 200 ] || fail "messages are lost"

step "a program that does not become ready"
third=$(deb 3.0.0)
mkdir "$work/broken"
dpkg-deb -R "$root$third" "$work/broken"
printf '#!/bin/sh\nexit 1\n' >"$work/broken/usr/bin/pillarbox"
dpkg-deb -Zxz -b "$work/broken" "$root/broken.deb" >/dev/null
if inside dpkg -i /broken.deb >"$work/rollback.log" 2>&1; then fail "a broken program was taken"; fi
grep -q 'the one before it runs again' "$work/rollback.log" || { cat "$work/rollback.log"; fail "no word of the rollback"; }
inside systemctl is-active pillarbox >/dev/null || fail "the server does not run after the rollback"
inside pillarbox --version | grep -q 2.0.0 || fail "the program before is not back"
inside dpkg -i "$third" >"$work/third.log" 2>&1 || { cat "$work/third.log"; fail "the mended package"; }
inside pillarbox --version | grep -q 3.0.0 || fail "the mended program is not in place"

step "ports held by systemd"
inside systemctl stop pillarbox
inside systemctl enable --now pillarbox.socket >/dev/null 2>&1
inside systemctl start pillarbox
selftest
if inside journalctl -u pillarbox -b | grep -q 'a socket from systemd is not used'; then fail "an unused socket"; fi
inside systemctl restart pillarbox || fail "restart with held ports"

step "remove and purge"
inside dpkg -r pillarbox >/dev/null
if inside systemctl is-active pillarbox >/dev/null; then fail "the server runs after the removal"; fi
inside dpkg -P pillarbox >"$work/purge.log" 2>&1
[ "$(boxes | grep -c '^Subject: load ')" -ge 200 ] || fail "purge removed mail"
echo "PASS: the package"

package checks

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/daemon"
	"pillarbox/cmd/internal/netinfo"
	"pillarbox/cmd/internal/sysinfo"
	"pillarbox/mailstore/durable"
	"pillarbox/quota"
)

// Machine is what the checks read of the machine. Tests replace its parts.
type Machine struct {
	Interfaces func() ([]netinfo.Interface, error)
	Space      func(dir string) (durable.DiskSpace, error)
	Clock      func() sysinfo.Clock
	Files      func(pid int) (open int, limit uint64, err error)
	Dial       func(ctx context.Context, network, address string) (net.Conn, error)
	LAN        *net.Resolver                  // as the machine itself finds names
	Roots      func() (*x509.CertPool, error) // CAs that mail programs know
	Etc        fs.FS                          // the root of the file system, for firewall settings
}

// ThisMachine returns the machine that the program runs on.
func ThisMachine() Machine {
	return Machine{
		Interfaces: netinfo.Interfaces, Space: durable.Space, Clock: sysinfo.ReadClock, Files: filesOf,
		Dial: new(net.Dialer).DialContext, LAN: &net.Resolver{PreferGo: true},
		Roots: x509.SystemCertPool, Etc: os.DirFS("/"),
	}
}

const (
	diskError   = 256 << 20 // octets: the log and its reserve need some of it
	diskWarning = 1 << 30
	diskLarge   = 10 << 30 // from here on, a small share of free space is enough
)

// disk reports too little space on the disk of the data directory.
func (e *Env) disk(context.Context) findings {
	dir := e.Data.Root.Name()
	s, err := e.Machine.Space(dir)
	if err != nil {
		return failed("the space on the disk is not known", err)
	}
	return judgeDisk(dir, s)
}

func (e *Env) backup(context.Context) findings {
	s, err := e.Data.BackupStatus(e.Now())
	if err != nil {
		return failed("the record of backups cannot be read", err)
	}
	return judgeBackup(s)
}

func judgeBackup(s admin.BackupStatus) findings {
	switch {
	case s.Dir == "":
		return ok("the server makes no backups: [backup] in the configuration is not set")
	case s.Fault != "":
		return findings{problem("'pillarbox admin backup run' tries again and says what is wrong", "%s", s.Fault)}
	case s.Success.IsZero():
		return ok("no backup was made yet in %s", s.Dir)
	}
	return ok("the last backup in %s is of %s", s.Dir, s.Success.Local().Format("2006-01-02 15:04"))
}

func judgeDisk(dir string, s durable.DiskSpace) findings {
	free := fmt.Sprintf("%s of %s are free on the disk of %s",
		quota.Approximate(s.Free, 0), quota.Approximate(s.Size, 0), dir)
	const fix = "delete what is not needed ('pillarbox admin quota list' shows large mailboxes), " +
		"or enlarge the disk"
	switch {
	case s.ReadOnly:
		return findings{problem("see 'dmesg' for a fault of the disk; then 'mount -o remount,rw'",
			"the file system of %s is mounted read-only", dir)}
	case s.Free < diskError:
		return findings{problem(fix, "only %s", free)}
	case s.Free < diskWarning, s.Free < diskLarge && s.Free < s.Size/10:
		return findings{warning(fix, "only %s", free)}
	}
	return ok("%s", free)
}

// inodes reports too few free inodes.
func (e *Env) inodes(context.Context) findings {
	dir := e.Data.Root.Name()
	s, err := e.Machine.Space(dir)
	if err != nil {
		return failed("the number of free inodes is not known", err)
	}
	return judgeInodes(dir, s)
}

func judgeInodes(dir string, s durable.DiskSpace) findings {
	if s.Files == 0 {
		return ok("the file system makes inodes as they are needed")
	}
	free := fmt.Sprintf("%d of %d inodes are free on the disk of %s", s.FreeFiles, s.Files, dir)
	const fix = "delete many small files; 'du --inodes -x / | sort -n | tail' finds them"
	switch {
	case s.FreeFiles < s.Files/100:
		return findings{problem(fix, "only %s", free)}
	case s.FreeFiles < s.Files/20:
		return findings{warning(fix, "only %s", free)}
	}
	return ok("%s", free)
}

// clock reports a clock that no program corrects, or that is far off.
func (e *Env) clock(context.Context) findings {
	return judgeClock(e.Machine.Clock())
}

func judgeClock(c sysinfo.Clock) findings {
	const far = 1 // seconds
	off := math.Abs(c.Offset)
	switch {
	case !c.Known:
		return skipped("the kernel does not tell about the clock")
	case !c.Synchronized:
		return findings{warning("'timedatectl set-ntp true', or install chrony; 'timedatectl' "+
			"shows the state. "+
			"Some virtual machines get the time from their host, which the kernel does not know",
			"the kernel says that no program keeps the clock correct")}
	case off > far:
		return findings{warning("see 'timedatectl timesync-status' or 'chronyc tracking'",
			"the clock is off by about %.3f s, and is being corrected", off)}
	}
	return ok("the clock is synchronised, with an offset of %.6f s", off)
}

// filesOf reads the open files of a process, and their limit.
func filesOf(pid int) (open int, limit uint64, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	fds, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return 0, 0, err
	}
	f, err := os.Open(dir + "/limits")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if limit, ok := openFilesLimit(lines.Text()); ok {
			return len(fds), limit, nil
		}
	}
	return 0, 0, fmt.Errorf("%s/limits has no limit of open files", dir)
}

// openFilesLimit reads the soft limit of a line such as "Max open files  1024  524288  files".
func openFilesLimit(line string) (uint64, bool) {
	rest, ok := strings.CutPrefix(line, "Max open files")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, false
	}
	if fields[0] == "unlimited" {
		return 1 << 30, true
	}
	n, err := strconv.ParseUint(fields[0], 10, 64)
	return n, err == nil
}

// descriptors reports a limit of open files that is low or nearly reached.
func (e *Env) descriptors(context.Context) findings {
	pid := e.Data.ServerPID()
	if pid == 0 {
		return skipped("the server is not running")
	}
	open, limit, err := e.Machine.Files(pid)
	if err != nil {
		return skipped("the open files of process %d cannot be read: %v", pid, err)
	}
	return judgeDescriptors(open, limit, e.Config.Limits.Connections)
}

// judgeDescriptors judges the limit by the connections of the configuration; 0 means no limit.
func judgeDescriptors(open int, limit uint64, connections int) findings {
	const fix = "set LimitNOFILE=65536 in the systemd unit, then 'systemctl daemon-reload' and " +
		"'systemctl restart pillarbox'"
	most := daemon.MostConnections(limit)
	switch {
	case uint64(open) > limit/10*9:
		return findings{problem(fix, "the server has %d files open, of at most %d", open, limit)}
	case connections > most:
		return findings{warning(fix, "the limit of %d open files is enough for %d connections, "+
			"but limits.connections is %d", limit, most, connections)}
	}
	return ok("the server has %d files open, of at most %d", open, limit)
}

// syncRounds is the number of syncs that are measured.
const syncRounds = 9

// sync measures how long a sync takes.
func (e *Env) sync(ctx context.Context) findings {
	kind, trusted, err := e.Data.Root.Filesystem()
	if err != nil {
		return failed("the kind of the file system is not known", err)
	}
	took, err := measureSync(ctx, e.Data.Root)
	if err != nil {
		return findings{problem("see 'dmesg' for a fault of the disk",
			"a small file cannot be synced: %v", err)}
	}
	return judgeSync(kind, trusted, took)
}

// measureSync writes and syncs a block several times, and returns the median of the times. The
// file has the name of an unfinished file: 'admin check --repair' removes it after a crash.
func measureSync(ctx context.Context, fsys durable.FS) (time.Duration, error) {
	const name, block = ".doctor-sync" + ".tmp", 4096
	_ = fsys.Remove(name)
	f, err := fsys.OpenFile(name, syscall.O_CREAT|syscall.O_EXCL|syscall.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer fsys.Remove(name)
	defer f.Close()
	var times []time.Duration
	for i := 0; i < syncRounds && ctx.Err() == nil; i++ {
		if _, err := f.WriteAt(make([]byte, block), int64(i*block)); err != nil {
			return 0, err
		}
		begin := time.Now()
		if err := f.Sync(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(begin))
	}
	if len(times) == 0 {
		return 0, ctx.Err()
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

const (
	syncTooFast = 20 * time.Microsecond // no device writes as fast over a file system
	syncSlow    = 100 * time.Millisecond
)

// judgeSync judges the time of a sync. No program can prove that a sync reached the disk: a fast
// device with a battery, and a cache that loses its content, look alike.
func judgeSync(kind string, trusted bool, took time.Duration) findings {
	exact := took.Round(time.Microsecond)
	switch {
	case kind == "tmpfs":
		return findings{problem("put 'data' on a disk",
			"the data directory is in memory (tmpfs); a restart loses all mail")}
	case !trusted:
		return findings{warning("put 'data' on a local disk with ext4, xfs, btrfs or zfs",
			"the file system (%s) is not known to keep what was synced", kind)}
	case took < syncTooFast:
		return findings{warning("in a virtual machine, see that the disk is not cache=unsafe "+
			"or writeback; "+
			"on hardware, see whether the controller has a battery, else 'hdparm -W0 DEVICE'",
			"a sync took %s, which is faster than a disk can write: either a cache holds the "+
				"data, "+
				"or the sync is ignored; a power cut could then lose accepted mail", exact)}
	case took > syncSlow:
		return findings{warning("see whether another program uses the disk ('iostat -x 5'), or "+
			"use a faster one",
			"a sync took %s; each message waits for at least one", exact)}
	}
	return ok("a sync took %s, which a disk needs; whether its cache survives a power cut "+
		"cannot be seen from here", exact)
}

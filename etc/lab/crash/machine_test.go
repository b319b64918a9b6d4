//go:build crash

package crash

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// bootTime is how long the machine may take until it reports that it is ready.
const bootTime = time.Minute

// machine is the virtual machine before it is switched on.
type machine struct {
	qemu, kernel, initramfs string
	fsType                  string
	console                 string // file for the kernel's output
	started                 bool   // it has started once, so it can start
}

// newMachine skips the test if the host cannot run the machine.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{kernel: os.Getenv("PILLARBOX_CRASH_KERNEL"), fsType: "ext4"}
	var err error
	if m.qemu, err = exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skipf("no QEMU (Debian: apt install qemu-system-x86): %v", err)
	}
	if _, err := exec.LookPath("mkfs." + m.fsType); err != nil {
		t.Skipf("no mkfs.%s: %v", m.fsType, err)
	}
	if m.kernel == "" {
		t.Skip("PILLARBOX_CRASH_KERNEL names no kernel")
	}
	dir := t.TempDir()
	m.initramfs, m.console = filepath.Join(dir, "initramfs"), filepath.Join(dir, "console")
	guest := filepath.Join(dir, "guest")
	build := exec.Command("go", "build", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, os.WriteFile(m.initramfs, m.archive(t, guest), 0o600))
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// modules are those that the disk and the file system may need. A module without a file counts as
// built in.
var modules = []string{
	"virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
	"crc16", "crc32c_generic", "mbcache", "jbd2", "ext4",
}

// archive makes the initial file system of the kernel, with the guest and the modules, in the
// format "newc".
func (m *machine) archive(t *testing.T, guest string) []byte {
	t.Helper()
	init, err := os.ReadFile(guest)
	must(t, err)
	var b bytes.Buffer
	add := func(name string, mode int, data []byte) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
		b.Write(make([]byte, -b.Len()&3))
		b.Write(data)
		b.Write(make([]byte, -b.Len()&3))
	}
	add("init", 0o100755, init)
	add("modules", 0o040755, nil)
	files := m.moduleFiles(t)
	for _, name := range modules {
		if file, ok := files[name]; ok {
			add("modules/"+name, 0o100644, unpacked(t, file))
		}
	}
	add("TRAILER!!!", 0, nil)
	return b.Bytes()
}

// moduleFiles finds the kernel's modules by name.
func (m *machine) moduleFiles(t *testing.T) map[string]string {
	t.Helper()
	version := strings.TrimPrefix(filepath.Base(m.kernel), "vmlinuz-")
	dir := filepath.Join(filepath.Dir(m.kernel), "..", "lib", "modules", version)
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		base, _, isModule := strings.Cut(filepath.Base(file), ".ko")
		if name := strings.ReplaceAll(base, "-", "_"); isModule && slices.Contains(modules, name) {
			files[name] = file
		}
		return err
	})
	if err != nil {
		t.Skipf("no modules beside the kernel: %v", err)
	}
	return files
}

func unpacked(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	switch filepath.Ext(file) {
	case ".gz":
		r, err := gzip.NewReader(bytes.NewReader(data))
		must(t, err)
		data, err = io.ReadAll(r)
		must(t, err)
	case ".xz", ".zst":
		tool := map[string]string{".xz": "xz", ".zst": "zstd"}[filepath.Ext(file)]
		if data, err = exec.Command(tool, "-dc", file).Output(); err != nil {
			t.Skipf("cannot unpack %s: %v", file, err)
		}
	}
	return data
}

// boot starts the machine on a disk and records the writes to it in the file log. It returns the
// whole lines of the guest's output when the guest has switched itself off or was killed. If kill
// is not 0, the guest is killed that long after it was ready.
func (m *machine) boot(t *testing.T, mode, disk, log string, kill time.Duration) (lines []string) {
	t.Helper()
	cmd := exec.Command(m.qemu, "-nodefaults", "-no-reboot", "-display", "none",
		// Without KVM, which often fails inside a virtual machine; the machine starts in seconds
		// anyway.
		"-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "768",
		"-kernel", m.kernel, "-initrd", m.initramfs,
		"-append", fmt.Sprintf("console=ttyS0 panic=-1 loglevel=4 CRASH=%s CRASHFS=%s", mode, m.fsType),
		"-chardev", "file,id=console,path="+m.console, "-serial", "chardev:console",
		"-chardev", "stdio,id=line,signal=off", "-serial", "chardev:line",
		// The host does not fail, so it need not flush; the guest's flushes are in the log.
		"-blockdev", "driver=file,node-name=disk,cache.no-flush=on,filename="+disk,
		"-blockdev", "driver=file,node-name=log,cache.no-flush=on,filename="+log,
		"-blockdev", "driver=blklogwrites,node-name=logged,file=disk,log=log",
		"-device", "virtio-blk-pci,drive=logged,write-cache=on")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	timer := time.AfterFunc(bootTime, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			break // an incomplete line does not count
		}
		line = strings.TrimSpace(line)
		if len(lines) == 0 && kill > 0 {
			timer.Reset(kill)
		}
		lines = append(lines, line)
	}
	err = cmd.Wait()
	if len(lines) == 0 || lines[0] != "ready" {
		console, _ := os.ReadFile(m.console)
		why := fmt.Sprintf("the machine does not start: %v: %s %q\n%s", err, &complaint, lines, console)
		if m.started {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	m.started = true
	return lines
}

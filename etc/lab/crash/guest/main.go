// Command guest is the first and only process of the virtual machine in which package crash cuts
// the power. The kernel's command line selects its work: CRASH=write delivers until the power is
// cut, CRASH=check reports what the store holds.
//
// It writes lines to the second serial port:
//
//	ready                   the disk is mounted
//	A <id> <box>,<box>…     acknowledged, in these mailboxes
//	T <id> <box>            about to be deleted
//	D <id> <box>            deleted
//	H <id> <box> <verdict>  held: "whole" or "damaged"
//	done                    no line follows
//	error <text>            it cannot go on
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"pillarbox/mailstore"
	"pillarbox/mailstore/durable"
)

const (
	disk    = "/disk"
	boxes   = 10
	writers = 50
	// deletePause is long enough to leave most messages in place.
	deletePause = 20 * time.Millisecond
)

// line is the serial port. The host uses only lines that end in a newline.
var line struct {
	sync.Mutex
	port *os.File // nil before it is open
}

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this program is the first process of a virtual machine")
		os.Exit(2)
	}
	if err := run(); err != nil {
		say("error %v", err)
	}
	syscall.Sync()
	time.Sleep(100 * time.Millisecond) // for the serial port
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func say(format string, args ...any) {
	line.Lock()
	defer line.Unlock()
	if line.port != nil {
		fmt.Fprintf(line.port, format+"\n", args...)
	}
}

func run() error {
	for _, dir := range []string{"/dev", "/proc", disk} {
		_ = os.Mkdir(dir, 0o755)
	}
	if err := syscall.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	port, err := os.OpenFile("/dev/ttyS1", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	line.port = port
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := loadModules(); err != nil {
		return err
	}
	if err := mountDisk(); err != nil {
		return err
	}
	say("ready")
	return useStore()
}

func useStore() error {
	root, err := durable.Open(disk)
	if err != nil {
		return err
	}
	for i := range boxes {
		if err := root.MkdirAll(boxDir(i), 0o700); err != nil {
			return err
		}
	}
	s, err := mailstore.Open(root, mailstore.Options{})
	if err != nil {
		return err
	}
	// Small and frequent, so that the log is emptied many times before the power cut.
	if err := s.Recover(mailstore.RecoverOptions{LogSize: 1 << 20, SyncDelay: 300 * time.Millisecond}); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if os.Getenv("CRASH") == "write" {
		return write(s)
	}
	for i := range boxes {
		if err := report(s, i); err != nil {
			return err
		}
	}
	say("done")
	return nil
}

// loadModules loads the packed modules. A module fails before the modules that it needs, so it
// repeats while that helps.
func loadModules() error {
	files, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for range files {
		files = slices.DeleteFunc(files, func(file string) bool {
			loadErr := loadModule(file)
			if loadErr != nil {
				err = fmt.Errorf("%s: %w", file, loadErr)
			}
			return loadErr == nil
		})
	}
	if len(files) > 0 {
		return err
	}
	return nil
}

func loadModule(file string) error {
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	none := []byte{0}
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE,
		uintptr(unsafe.Pointer(&image[0])), uintptr(len(image)), uintptr(unsafe.Pointer(&none[0])))
	if errno != 0 && errno != syscall.EEXIST {
		return errno
	}
	return nil
}

// mountDisk waits for the disk to be found.
func mountDisk() error {
	var err error
	for range 100 {
		if err = syscall.Mount("/dev/vda", disk, os.Getenv("CRASHFS"), 0, ""); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("mount: %w", err)
}

func boxDir(i int) string { return fmt.Sprintf("mailbox/office.example/P3_box%d.mbx", i) }

// write delivers and deletes until the power is cut.
func write(s *mailstore.Store) error {
	failed := make(chan error)
	for range writers {
		go func() {
			for {
				if err := deliver(s); err != nil {
					failed <- fmt.Errorf("deliver: %w", err)
				}
			}
		}()
	}
	go func() {
		for {
			if err := deleteSome(s, rand.IntN(boxes)); err != nil {
				failed <- fmt.Errorf("delete: %w", err)
			}
			time.Sleep(deletePause)
		}
	}()
	return <-failed
}

func deliver(s *mailstore.Store) error {
	in := s.Create()
	defer in.Abort()
	size := rand.IntN(1000)
	if rand.IntN(50) == 0 {
		size = rand.IntN(20_000) // too large for the log
	}
	text := strings.Repeat(strconv.Itoa(rand.Int())+"\r\n", size/2)
	if _, err := fmt.Fprintf(in, "%s %s\r\n%s", in.ID(), checksum(text), text); err != nil {
		return err
	}
	var dirs, numbers []string
	for _, i := range rand.Perm(boxes)[:1+rand.IntN(3)] {
		dirs, numbers = append(dirs, boxDir(i)), append(numbers, strconv.Itoa(i))
	}
	id, err := in.Commit(dirs)
	if err == nil {
		say("A %s %s", id, strings.Join(numbers, ","))
	}
	return err
}

func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func deleteSome(s *mailstore.Store, box int) error {
	m, err := s.OpenMaildrop(boxDir(box))
	if err != nil {
		return err
	}
	defer m.Close()
	all := m.Messages()
	var chosen []int
	for range min(5, len(all)) {
		// Mostly new messages, which are still in the log.
		if i := max(0, len(all)-1-rand.IntN(20)); !slices.Contains(chosen, i) {
			chosen = append(chosen, i)
			say("T %s %d", all[i].UID, box)
		}
	}
	if err := m.Remove(chosen); err != nil {
		return err
	}
	for _, i := range chosen {
		say("D %s %d", all[i].UID, box)
	}
	return nil
}

// report reports the content of a mailbox.
func report(s *mailstore.Store, box int) error {
	if err := s.Check(boxDir(box)); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		say("error check: %s", first)
	}
	m, err := s.OpenMaildrop(boxDir(box))
	if err != nil {
		return err
	}
	defer m.Close()
	for i, msg := range m.Messages() {
		verdict := "whole"
		if !whole(m, i) {
			verdict = "damaged"
		}
		say("H %s %d %s", msg.UID, box, verdict)
	}
	return nil
}

// whole reports whether a message has its own name and the right checksum.
func whole(m *mailstore.Maildrop, i int) bool {
	r, err := m.Open(i)
	if err != nil {
		return false
	}
	defer r.Close()
	b := bufio.NewReader(r)
	head, err := b.ReadString('\n')
	if err != nil {
		return false
	}
	text, err := io.ReadAll(b)
	return err == nil && head == m.Messages()[i].UID+" "+checksum(string(text))+"\r\n"
}

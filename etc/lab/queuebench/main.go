// Command queuebench measures how fast the server sends mail. The binary takes mail from clients
// that have logged in, and sends it through its queue to Postfix's smtp-sink. For comparison it
// measures Postfix on the same disk with the same clients, but without a login. It also fills a
// queue and measures how long the server takes to start, and how much memory it then uses. Its
// output has the format of "go test -bench"; see benchtable.
//
// It needs smtp-sink. Postfix needs root and is skipped if it cannot run.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	messages := flag.Int("messages", 10_000, "messages to send in each measurement")
	queued := flag.Int("queued", 100_000, "messages in the queue when the server starts")
	binary := flag.String("binary", "", "path of the pillarbox binary")
	flag.Parse()
	if err := run(*binary, *messages, *queued); err != nil {
		fmt.Fprintln(os.Stderr, "queuebench:", err)
		os.Exit(1)
	}
}

// result is one measurement.
type result struct {
	rate float64 // messages a second, from the first MAIL until the last one is in the sink
	cpu  float64 // CPU seconds for 1,000 messages
}

func run(binary string, messages, queued int) error {
	dir, err := os.MkdirTemp("", "queuebench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // Postfix's processes need access
		return err
	}
	for _, conns := range []int{10, 50} {
		for _, m := range []struct {
			who     string
			measure func(dir, binary string, conns, messages int) (result, error)
		}{{"pillarbox", measurePillarbox}, {"postfix", measurePostfix}} {
			home := filepath.Join(dir, fmt.Sprint(m.who, conns))
			r, err := m.measure(home, binary, conns, messages)
			if errors.Is(err, errNotHere) {
				fmt.Println("#", m.who+":", err)
				continue
			} else if err != nil {
				return fmt.Errorf("%s: %w", m.who, err)
			}
			fmt.Printf("BenchmarkQueue/connections=%d/%s "+
				"%d %.0f ns/op %.0f msg/s %.3f cpu-s/1000\n",
				conns, m.who, messages, 1e9/r.rate, r.rate, r.cpu)
		}
	}
	return measureStart(filepath.Join(dir, "start"), binary, queued)
}

var errNotHere = errors.New("cannot run here")

// startSink starts smtp-sink, which receives all mail that leaves the queue.
func startSink() (port string, stop func(), err error) {
	if _, err := exec.LookPath("smtp-sink"); err != nil {
		return "", nil, err
	}
	port = freePort()
	args := []string{"127.0.0.1:" + port, "1000"}
	if os.Getuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	cmd := exec.Command("smtp-sink", args...)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	if err := awaitPort(port); err != nil {
		stop()
		return "", nil, err
	}
	return port, stop, nil
}

func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err) // without a port no measurement is possible
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

func awaitPort(port string) error {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// sendAll sends the messages over conns connections, and returns when all are accepted.
func sendAll(port string, conns, messages int, login func(*client) error) error {
	clients := make([]*client, conns)
	for i := range clients {
		c, err := dial(port)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := errors.Join(c.command("EHLO bench.example", "250"), login(c)); err != nil {
			return err
		}
		clients[i] = c
	}
	errs := make([]error, conns)
	var sending sync.WaitGroup
	for i, c := range clients {
		sending.Go(func() {
			for n := i; n < messages && errs[i] == nil; n += conns {
				errs[i] = c.send()
			}
		})
	}
	sending.Wait()
	return errors.Join(errs...)
}

// awaitEmpty waits until left returns 0: the queue is empty.
func awaitEmpty(left func() (int, error)) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		n, err := left()
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d messages are still in the queue", n)
		}
	}
}

// cpuTime returns the CPU time that a process has used, in seconds, from /proc/PID/stat.
func cpuTime(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	const ticks = 100 // a second, on every Linux
	return (user + system) / ticks, err
}

// resident returns the resident memory of a process in KiB.
func resident(pid int) (kib int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	_, err = fmt.Sscan(rest, &kib)
	return kib, err
}

// terminate stops a process as a service manager does.
func terminate(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return cmd.Wait()
}

// logged starts a command and writes its output to a file.
func logged(cmd *exec.Cmd, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	return cmd.Start()
}

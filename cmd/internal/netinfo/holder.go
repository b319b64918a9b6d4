package netinfo

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holder returns the process that listens on the port of an address, from /proc; "" if it cannot find
// it.
func holder(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if f, err := os.Open(table); err == nil {
			listenInodes(bufio.NewScanner(f), n, inodes)
			f.Close()
		}
	}
	return processOf(inodes)
}

// listenInodes adds the sockets that listen on a port, from the kernel's table:
// sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode.
func listenInodes(table *bufio.Scanner, port int, inodes map[string]bool) {
	const listening = "0A"
	for table.Scan() {
		f := strings.Fields(table.Text())
		if len(f) < 10 || f[3] != listening {
			continue
		}
		_, hex, _ := strings.Cut(f[1], ":")
		if p, err := strconv.ParseInt(hex, 16, 32); err == nil && int(p) == port {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
}

// processOf returns the process that has one of the sockets open.
func processOf(sockets map[string]bool) string {
	if len(sockets) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !sockets[target] {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (pid %s)", strings.TrimSpace(string(name)), pid)
	}
	return ""
}

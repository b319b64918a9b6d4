package remote

import (
	"bufio"
	"io"
	"strings"
)

// maxPasses is how often a message to an address on another server of our domain may have passed this
// server. Two are usual for mail that comes back from a mailing list; more are a loop.
const maxPasses = 4

// passes returns how many Received fields of a message (RFC 5321 §4.4) name this host. An error in
// reading counts as none: the attempt will tell it.
func passes(open func() (io.ReadCloser, error), hostname string) int {
	f, err := open()
	if err != nil {
		return 0
	}
	defer f.Close()
	in := bufio.NewScanner(io.LimitReader(f, maxHeader))
	in.Buffer(nil, maxHeader)
	n, field := 0, ""
	end := func() {
		words := strings.Fields(strings.ToLower(field))
		for i := 1; i < len(words) && words[0] == "received:"; i++ {
			if words[i-1] == "by" && words[i] == strings.ToLower(hostname) {
				n++
				break
			}
		}
	}
	for in.Scan() {
		line := strings.TrimSuffix(in.Text(), "\r")
		if line == "" {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			end()
			field = ""
		}
		if len(field) < 4096 {
			field += line
		}
	}
	end()
	return n
}

package server

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"pillarbox/mailstore/directory"
	"pillarbox/smtp/delivery"
)

// Large headers share a limit; small ones are always accepted, and released memory can be used again.
func TestHeadroom(t *testing.T) {
	large := strings.Repeat("X: "+strings.Repeat("y", 900)+"\r\n", 250) + "\r\n"
	small := strings.Repeat("X: y\r\n", 1000) + "\r\n"
	var room headroom
	var holds []*headerHold
	read := func(text string) error {
		h := &headerHold{room: &room}
		holds = append(holds, h)
		_, err := readHeader(&lines{[]byte(text)}, h)
		return err
	}
	var err error
	for err == nil && len(holds) < 1000 {
		err = read(large)
	}
	if n := len(holds); !errors.Is(err, errHeadroom) || n < headersInAll/maxHeader || n > headersInAll/(128<<10)+1 {
		t.Errorf("%d large headers at once: %v", n, err)
	}
	if err := read(small); err != nil {
		t.Errorf("a small header: %v", err)
	}
	for _, h := range holds {
		h.release()
		h.release()
	}
	if used := room.used.Load(); used != 0 {
		t.Errorf("%d octets are still held", used)
	}
	if err := read(large); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A header is in memory once: its lines are not kept as copies.
func TestHeaderIsCompact(t *testing.T) {
	line := "X: " + strings.Repeat("y", 900) + "\r\n"
	text := strings.Repeat(line, 250)
	h, err := readHeader(&lines{[]byte(text + "\r\n")}, &headerHold{room: new(headroom)})
	if err != nil || !bytes.HasPrefix(h.octets, []byte(text)) {
		t.Fatal(len(h.octets), err)
	}
	if c := cap(h.octets); c > len(text)*3/2 {
		t.Errorf("%d octets are held for %d", c, len(text))
	}
	if n := testing.AllocsPerRun(10, func() { readHeader(&lines{[]byte(text + "\r\n")}, &headerHold{room: new(headroom)}) }); n > 300 {
		t.Errorf("%v allocations for 250 lines, one for each name", n)
	}
}

// lines is a body in memory.
type lines struct{ rest []byte }

func (l *lines) Line() ([]byte, error) {
	n := bytes.IndexByte(l.rest, '\n') + 1
	line := l.rest[:n:n]
	l.rest = l.rest[n:]
	return line, nil
}

// A second RCPT of the same group takes no further memory.
func TestTargetsShareMailboxes(t *testing.T) {
	group := func(n int) delivery.Target {
		boxes := make([]directory.Mailbox, n)
		for i := range boxes {
			boxes[i].Dir = fmt.Sprint("box", i)
		}
		return delivery.Target{Boxes: boxes}
	}
	all := []delivery.Target{group(1), group(50)}
	again, other := group(50), group(49)
	shareBoxes(&again, all)
	shareBoxes(&other, all)
	if &again.Boxes[0] != &all[1].Boxes[0] || &other.Boxes[0] == &all[1].Boxes[0] || len(other.Boxes) != 49 {
		t.Error("the same list is held twice, or another one is taken for it")
	}
}

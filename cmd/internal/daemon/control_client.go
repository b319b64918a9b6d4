package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"syscall"
	"time"
)

// Handed is a command line that is to be done by the server, for who may not do
// it on the files.
type Handed struct {
	Args   []string // as in Call
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// Ask asks the person who sits at the terminal; nil: nobody does.
	Ask func(prompt string, secret bool) (string, error)
}

// HandOver has a command line done by the server whose operators' socket this is,
// and returns its exit code. ErrNotRunning when there is none.
func HandOver(ctx context.Context, socket string, h Handed) (exit int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return 0, ErrNotRunning
	case err != nil:
		return 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })()
	return h.converse(c)
}

// converse is the client's part of a conversation.
func (h *Handed) converse(c net.Conn) (exit int, err error) {
	if err := sendLine(c, order{Args: h.Args, Terminal: h.Ask != nil}); err != nil {
		return 0, fmt.Errorf("the server takes no more commands at this moment: %w", err)
	}
	for lines := newLineReader(c, maxLine); ; {
		var n notice
		if err := lines.read(&n); err != nil {
			return 0, fmt.Errorf("the server has broken off: %w", err)
		}
		if n.Exit != nil {
			return *n.Exit, nil
		}
		if err := h.obey(c, n); err != nil {
			return 0, err
		}
	}
}

// obey does what a line of the server wants.
func (h *Handed) obey(c net.Conn, n notice) error {
	switch {
	case n.Out != nil:
		_, err := h.Stdout.Write(n.Out)
		return err
	case n.Err != nil:
		_, err := h.Stderr.Write(n.Err)
		return err
	case n.Ask != nil && h.Ask != nil:
		text, err := h.Ask(n.Ask.Prompt, n.Ask.Secret)
		return sendLine(c, reply{Answer: text, Failed: errorText(err)})
	case n.Read:
		chunk := make([]byte, maxChunk)
		size, err := h.Stdin.Read(chunk)
		if size > 0 || errors.Is(err, io.EOF) {
			err = nil
		}
		return sendLine(c, reply{Data: chunk[:size], Failed: errorText(err)})
	}
	return errWire
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func sendLine(c net.Conn, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Write(append(text, '\n'))
	return err
}

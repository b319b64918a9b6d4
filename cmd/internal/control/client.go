package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"pillarbox/cmd/internal/admin"
)

// ErrNoServer says that no server answers on the socket, or that the caller may not open it.
var ErrNoServer = errors.New("no server answers on the control socket")

// errBusy means that the user, or all users together, have too many calls under way.
var errBusy = errors.New("the server takes no more commands at this moment; try again later")

// Client calls the server on a socket.
type Client struct {
	Socket string // a path, as Path returns it or as operators.socket names it
	Origin Origin
	Tell   func(admin.Part) // takes the parts of a call; nil discards them
}

// Call has the server do a verb. ErrNoServer if there is none. A result may come with an error.
func Call[In, Out any](
	ctx context.Context, c Client, v admin.Verb[In, Out], in In,
) (out Out, err error) {
	arguments, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	last, err := c.converse(ctx, request{Verb: v.Name(), Origin: c.Origin, Arguments: arguments})
	if err != nil {
		return out, err
	}
	if last.Result != nil {
		err = json.Unmarshal(last.Result, &out)
	}
	return out, errors.Join(last.Error.err(), err)
}

// dialAttempts is how often a client tries to connect while many others do.
const dialAttempts = 30

// converse sends a request and returns the last line.
func (c Client) converse(ctx context.Context, r request) (last answer, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	for n := 0; errors.Is(err, syscall.EAGAIN) && n < dialAttempts && ctx.Err() == nil; n++ {
		time.Sleep(offlineLook)
		conn, err = new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, fs.ErrPermission):
		return last, ErrNoServer
	case err != nil:
		return last, fmt.Errorf("%s: %w", c.Socket, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	return c.exchange(conn, r)
}

func (c Client) exchange(conn net.Conn, r request) (last answer, err error) {
	lines := newLineReader(conn, maxAnswer)
	if err := sendLine(conn, r); err != nil {
		if lines.read(&last) == nil && last.Error != nil {
			return last, nil // the server says why it does not read on
		}
		return last, errBusy
	}
	for {
		var a answer
		switch err := lines.read(&a); {
		case err != nil:
			return last, fmt.Errorf("the server has broken off: %w", err)
		case a.Result != nil || a.Error != nil:
			return a, nil
		case a.Part != nil && c.Tell != nil:
			c.Tell(*a.Part)
		}
	}
}

func sendLine(c net.Conn, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.Write(append(text, '\n'))
	return err
}

const (
	// offlineWait is how long OrOffline waits for a server that starts or stops.
	offlineWait = 2 * time.Minute
	// offlineLook is the time between two attempts.
	offlineLook = 100 * time.Millisecond
)

// OrOffline asks the server or, without one, does the same offline. offline fails with
// admin.ErrDataLocked while a server that starts or stops, or another command, holds the data
// directory; then OrOffline asks again.
func OrOffline(ctx context.Context, ask, offline func() error) error {
	ctx, cancel := context.WithTimeout(ctx, offlineWait)
	defer cancel()
	for {
		if err := ask(); !errors.Is(err, ErrNoServer) {
			return err
		}
		err := offline()
		if !errors.Is(err, admin.ErrDataLocked) {
			return err
		}
		select {
		case <-time.After(offlineLook):
		case <-ctx.Done():
			err = fmt.Errorf("the server neither answers nor lets go of the data directory: %w", err)
			return admin.Hint(err, "see in the server's log what it waits for; "+
				"if its control socket is missing, restart the server")
		}
	}
}

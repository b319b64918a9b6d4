// Package control carries the verbs of package admin between processes: from 'pillarbox admin' to
// the running server, over a unix socket.
//
// One call is one connection. The client sends a request, one line of JSON. The server answers
// with lines of JSON: any number of parts (admin.Part), then one last line with the result, the
// error, or both. A client that goes away cancels its call.
//
// The kernel tells the server which user calls (peerOf). This user decides what is permitted. What
// the request says about its origin is a description for the audit log and gives no right.
//
// Server serves any number of listeners with the same verbs and the same rights. Call is the
// client's side, and OrOffline does without a server. Package control must not know what a verb
// does: it finds the verb in admin.Verbs and passes input and output on.
package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"pillarbox/cmd/internal/admin"
	"pillarbox/mailstore/directory"
)

// CommandLine begins an Origin.From of 'pillarbox admin'.
const CommandLine = "command line"

// Origin describes where a call comes from, in the client's words.
type Origin struct {
	// Who is "root (sudo by carol)". It counts only from a caller who could write the audit log
	// on the disk as well.
	Who string `json:"who,omitempty"`
	// From is "command line, pts/1, 192.0.2.7".
	From string `json:"from,omitempty"`
}

// request is the one line of a client.
type request struct {
	Verb      string          `json:"verb"`
	Origin    Origin          `json:"origin"`
	Arguments json.RawMessage `json:"arguments"`
}

// answer is a line of the server. The last line of a call has a result or an error, the others
// have a part.
type answer struct {
	Part   *admin.Part     `json:"part,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *failure        `json:"error,omitempty"`
}

const (
	maxRequest        = 16 << 20  // octets of a request, such as 400,000 queued messages by ID
	maxForeignRequest = 256 << 10 // octets of the request of a non-operator
	maxAnswer         = 1 << 30   // octets of a line of the server, such as 100,000 queued messages
)

var errNotUnderstood = errors.New("the line is not understood")

// failure is an error on its way.
type failure struct {
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	Class string `json:"class,omitempty"`
}

// ErrUnknownVerb is the class of errors of a verb, or an input, that the server does not know.
var ErrUnknownVerb = errors.New("the running server does not know this command; " +
	"it may be another version of the program")

func unknownVerb() error {
	return admin.Hint(ErrUnknownVerb, "restart the server: it then runs the version that is installed")
}

// classes are the errors that a client tells apart, by their names in a failure.
func classes() map[string]error {
	return map[string]error{
		"not-permitted": admin.ErrNotPermitted,
		"not-running":   admin.ErrNotRunning,
		"usage":         admin.ErrUsage,
		"confirm":       admin.ErrConfirm,
		"unknown-verb":  ErrUnknownVerb,
		"damaged":       directory.ErrDamaged,
	}
}

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error()}
	if hinted, ok := errors.AsType[*admin.HintError](err); ok {
		f.Hint = hinted.Hint
	}
	for name, class := range classes() {
		if errors.Is(err, class) {
			f.Class = name
		}
	}
	return f
}

// err is the failure as the client's error.
func (f *failure) err() error {
	if f == nil {
		return nil
	}
	var err error = remoteError{f.Text, classes()[f.Class]}
	if f.Hint != "" {
		err = admin.Hint(err, "%s", f.Hint)
	}
	return err
}

// remoteError is an error of the server.
type remoteError struct {
	text  string
	class error // nil: none that a client tells apart
}

func (e remoteError) Error() string        { return e.text }
func (e remoteError) Is(target error) bool { return e.class != nil && target == e.class }

// lineReader reads lines of JSON up to a size.
type lineReader struct{ *bufio.Scanner }

func newLineReader(r io.Reader, most int) lineReader {
	s := bufio.NewScanner(r)
	s.Buffer(nil, most)
	return lineReader{s}
}

// read decodes the next line. io.EOF at the end.
func (l lineReader) read(v any) error {
	if !l.Scan() {
		if err := l.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	if err := json.Unmarshal(l.Bytes(), v); err != nil {
		return errNotUnderstood
	}
	return nil
}

// socketName is the control socket in the data directory. Its users are those who may enter that
// directory.
const socketName = "control.sock"

// File returns the whole path of the control socket of a data directory, for messages.
func File(data string) string { return filepath.Join(data, socketName) }

// Path returns a path of the control socket of a data directory. The path fits into the 108
// octets that the kernel has for it, whatever the length of data. done releases what that takes.
func Path(data string) (path string, done func(), err error) {
	path = filepath.Join(data, socketName)
	if len(path) < 100 {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName), func() { dir.Close() }, nil
}

package daemon

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
)

// Over the operators' socket go lines of JSON. The client sends an order, and
// then a reply to each question of the server; the server sends output and
// questions, and at last the exit code.

// order is the first line of the client.
type order struct {
	Args     []string `json:"args"`     // behind the program's name, without --config
	Terminal bool     `json:"terminal"` // somebody sits there who can be asked
}

// notice is a line of the server; one of the fields is set.
type notice struct {
	Out  []byte    `json:"out,omitempty"` // for standard output
	Err  []byte    `json:"err,omitempty"` // for standard error
	Ask  *question `json:"ask,omitempty"` // to the person
	Read bool      `json:"read,omitempty"`
	Exit *int      `json:"exit,omitempty"` // the last line
}

type question struct {
	Prompt string `json:"prompt"`
	Secret bool   `json:"secret"` // not to be seen while it is typed
}

// reply is what the client sends when it was asked, or told to read.
type reply struct {
	Answer string `json:"answer,omitempty"`
	Data   []byte `json:"data,omitempty"` // of standard input; none at its end
	Failed string `json:"failed,omitempty"`
}

const (
	maxOrder = 256 << 10 // octets of a line of the client
	maxChunk = 32 << 10  // octets of input or output in a line
	maxInput = 1 << 20   // octets of standard input that a command may read
	maxLine  = 1 << 20   // octets of a line of the server
)

var errWire = errors.New("what comes over the socket is not understood")

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
		return errWire
	}
	return nil
}

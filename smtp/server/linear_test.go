package server

import (
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

// textLines is a lineReader over a text.
type textLines struct{ rest string }

func (l *textLines) Line() ([]byte, error) {
	if l.rest == "" {
		return nil, io.EOF
	}
	line, rest, found := strings.Cut(l.rest, "\r\n")
	if l.rest = rest; found {
		line += "\r\n"
	}
	return []byte(line), nil
}

func TestHeaderLinear(t *testing.T) {
	mailtest.Linear(t, func(text string) {
		head, err := readHeader(&textLines{text}, &headerHold{room: new(headroom)})
		if err == nil {
			head.responsible()
			head.authors()
		}
	}, mailtest.Headers("From", "Sender", "Received", "Return-Path", "X-Mark")...)
}

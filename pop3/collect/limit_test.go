package collect

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// endless returns octets without end. It fails after 1 MB, more than any limit of these tests
// allows.
type endless struct{ given int }

func (e *endless) Read(p []byte) (int, error) {
	if e.given > 1e6 {
		return 0, errors.New("there was no limit")
	}
	e.given += len(p)
	return len(p), nil
}

// ways are the ways in which the server reads a message.
func ways() map[string]func(r io.Reader) ([]byte, error) {
	return map[string]func(r io.Reader) ([]byte, error){
		"all":  io.ReadAll,
		"copy": func(r io.Reader) ([]byte, error) { return copied(r) },
		"a buffer that writes itself": func(r io.Reader) ([]byte, error) {
			return copied(bufio.NewReaderSize(r, 64))
		},
		"several readers": func(r io.Reader) ([]byte, error) {
			return copied(io.MultiReader(strings.NewReader(""), bufio.NewReaderSize(r, 64)))
		},
		"one octet at a time": func(r io.Reader) ([]byte, error) { return copied(iotest.OneByteReader(r)) },
	}
}

func copied(r io.Reader) ([]byte, error) {
	var b bytes.Buffer
	_, err := io.Copy(&b, r)
	return b.Bytes(), err
}

// TestLimitIsOne reads beyond the limit in each way. The error must come, and no data with it.
func TestLimitIsOne(t *testing.T) {
	for name, read := range ways() {
		for _, limit := range []int64{1, 63, 64, 65, 1000} {
			if got, err := read(&counter{r: &endless{}, limit: limit}); !errors.Is(err, errTooLarge) || int64(len(got)) > limit {
				t.Errorf("%s, limit %d: got %d octets, %v", name, limit, len(got), err)
			}
			just := strings.NewReader(strings.Repeat("x", int(limit)))
			if got, err := read(&counter{r: just, limit: limit}); err != nil || int64(len(got)) != limit {
				t.Errorf("%s, as much as the limit %d: %d octets, %v", name, limit, len(got), err)
			}
		}
	}
}

// TestEndlessMessageIsPassedOver has an endless message among others, listed as a small one.
func TestEndlessMessageIsPassedOver(t *testing.T) {
	for what, text := range map[string]string{"a line": strings.Repeat("x", 1<<16), "lines": strings.Repeat(strings.Repeat("x", 78)+"\r\n", 1000), "a header": strings.Repeat("X-H: y\r\n", 1000)} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, b := newClient(t), &box{}
				b.add(5)
				b.messages[2].endless = text
				if what == "a header" {
					b.messages[2].text = "Subject: x\r\n"
				}
				c.opts.MaxSize = 1 << 20
				most := 0
				c.opts.Deliver = func(r io.Reader) error {
					text, err := copied(bufio.NewReader(r))
					if most = max(most, len(text)); err == nil {
						c.got = append(c.got, string(text))
					}
					return err
				}
				if _, err := c.piped(b.serve); !errors.Is(err, ErrProtocol) || len(c.got) != 2 {
					t.Errorf("first: %d messages, %v", len(c.got), err)
				}
				if most > 1<<20 {
					t.Errorf("%d octets were delivered of one that may have %d", most, 1<<20)
				}
				if result, err := c.piped(b.serve); err != nil || len(c.got) != 4 || result.Left != 1 {
					t.Errorf("second: %d messages, %+v, %v", len(c.got), result, err)
				}
				for _, want := range []string{"cannot be delivered and stays at the server", "had no end within the limit"} {
					if !strings.Contains(c.log.String(), want) {
						t.Errorf("the log does not say that it %q", want)
					}
				}
				time.Sleep(skipFor)
				b.messages[0].endless = ""
				if _, err := c.piped(b.serve); err != nil || len(b.messages) != 0 {
					t.Errorf("the next day: %v, %d left", err, len(b.messages))
				}
			})
		})
	}
}

// TestClockSetRight uses the state of a mailbox collected while the clock was years ahead.
func TestClockSetRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, b := newClient(t), &box{}
		b.add(1)
		c.opts.Leave, c.opts.LeaveDays = true, 3
		ahead := 4 * 365 * 24 * time.Hour
		c.opts.Now = func() time.Time { return time.Now().Add(ahead) }
		c.want(b, "1 0 1")
		ahead = 0
		c.want(b, "0 0 1")
		time.Sleep(3 * 24 * time.Hour)
		c.want(b, "0 1 0")
	})
}

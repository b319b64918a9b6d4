package mailstore

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestRewrite: the text is replaced, whether it is in memory, in a file, or grows into one.
func TestRewrite(t *testing.T) {
	const large = smallMax + 1000
	for what, c := range map[string]struct{ before, added int }{
		"small": {100, 20}, "grows": {100, large}, "large": {large, 20}, "larger": {large, large},
	} {
		h := newHouse(t, Options{})
		in := h.Create()
		before := strings.Repeat("x", c.before) + "\r\n"
		_, err := io.WriteString(in, before)
		must(t, err)
		top := strings.Repeat("y", c.added) + "\r\n.dot\r\n"
		must(t, in.Rewrite(func(w io.Writer, r io.Reader) error {
			if _, err := io.WriteString(w, top); err != nil {
				return err
			}
			_, err := io.Copy(w, r)
			return err
		}))
		if in.Size() != int64(len(top+before)) {
			t.Errorf("%s: the size is %d", what, in.Size())
		}
		_, err = in.Commit([]string{everybody[0]})
		must(t, err)
		if got := bodies(t, h.Store, everybody[0]); len(got) != 1 || got[0] != top+before {
			t.Errorf("%s: the message is not the one that was written", what)
		}
		h.wantIncoming(t, 0)
	}
}

// TestRewriteFails: after an error, nothing of the message can be delivered.
func TestRewriteFails(t *testing.T) {
	h := newHouse(t, Options{})
	in := h.Create()
	_, err := io.WriteString(in, strings.Repeat("x", smallMax+1000))
	must(t, err)
	broken := errors.New("broken")
	wantErr(t, in.Rewrite(func(w io.Writer, _ io.Reader) error {
		fmt.Fprint(w, "half")
		return broken
	}), broken)
	_, err = in.Commit([]string{everybody[0]})
	wantErr(t, err, broken)
	in.Abort()
	h.wantIncoming(t, 0)
	wantErr(t, in.Rewrite(func(io.Writer, io.Reader) error { return nil }), errAborted(in))
}

// errAborted is the error of an Incoming that has ended.
func errAborted(in *Incoming) error {
	_, err := in.Write(nil)
	return err
}

package remote

import (
	"fmt"
	"io"

	"pillarbox/mailstore/caught"
	"pillarbox/mailstore/mailtext"
)

// text is a message in the form in which it is sent.
type text struct {
	convert   bool // it differs from the stored message
	sevenBit  bool
	signature []byte // DKIM-Signature, to be prepended; nil: none
	size      int64  // in octets; 0: not known
}

// inspect finds the shape of the message, once in an attempt.
func (d *delivery) inspect() error {
	if d.inspected {
		return nil
	}
	src, err := d.attempt.Open()
	if err != nil {
		return err
	}
	defer src.Close()
	p := d.remote.pumps.Get().(*pump)
	defer d.remote.pumps.Put(p)
	if d.shape, err = shapeOf(src, p.in); err != nil {
		return err
	}
	if missing := d.attempt.Size - d.shape.size; missing > 0 {
		return fmt.Errorf("%w: %d octets are missing", errSource, missing)
	}
	d.inspected = true
	return nil
}

// open opens the stored message. Every line ends with CRLF, even if the file was changed by hand.
func (d *delivery) open() (io.ReadCloser, error) {
	if err := d.inspect(); err != nil {
		return nil, err
	}
	src, err := d.attempt.Open()
	if err == nil && d.shape.bare {
		return &joined{mailtext.NewReader(src), src}, nil
	}
	return src, err
}

// text returns the message in the form for a server, once in an attempt for each form. The
// signature is made last, so that it matches what is sent.
func (d *delivery) text(sevenBit bool) (*text, error) {
	form := 0
	if sevenBit {
		form = 1
	}
	if d.texts[form] != nil {
		return d.texts[form], nil
	}
	if err := d.inspect(); err != nil {
		return nil, err
	}
	t := &text{convert: sevenBit || d.shape.rough(), sevenBit: sevenBit}
	if t.convert {
		if _, err := d.scan(); err != nil {
			return nil, err
		}
	} else if !d.shape.bare {
		t.size = d.shape.size
	}
	if d.attempt.Sign != nil {
		if err := d.sign(t); err != nil {
			return nil, err
		}
	}
	d.texts[form] = t
	return t, nil
}

func (d *delivery) sign(t *text) error {
	src, err := d.open()
	if err != nil {
		return err
	}
	defer src.Close()
	if !t.convert {
		if t.signature = d.attempt.Sign(src); t.size > 0 {
			t.size += int64(len(t.signature))
		}
		return nil
	}
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.CloseWithError(caught.Do(func() error { return d.content.convert(in, src, t.sevenBit) }))
	}()
	t.signature = d.attempt.Sign(out)
	out.Close() // the signer need not have read all
	<-done
	return nil
}

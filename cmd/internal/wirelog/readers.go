package wirelog

import "pillarbox/mailstore/dialogue"

// W3CReader writes the commands of SMTP or POP3 to a W3C log. It implements dialogue.Reader.
type W3CReader struct {
	Form W3C
	To   *Writer
	POP3 bool // of POP3; otherwise of SMTP
}

// Wants implements dialogue.Reader.
func (r W3CReader) Wants(c *dialogue.Client) bool { return isPOP3(c.Service) == r.POP3 }

// Line implements dialogue.Reader.
func (r W3CReader) Line(dialogue.Line) {}

// Command implements dialogue.Reader.
func (r W3CReader) Command(c *dialogue.Command) { r.To.Write(c.Begun.Add(c.Taken), r.Form.Line(c)) }

// ProtocolReader writes the lines of chosen clients to a protocol log. It implements dialogue.Reader.
type ProtocolReader struct {
	Chosen Chosen
	To     *Writer
}

// Wants implements dialogue.Reader.
func (r ProtocolReader) Wants(c *dialogue.Client) bool { return r.Chosen.Match(c) }

// Line implements dialogue.Reader.
func (r ProtocolReader) Line(l dialogue.Line) { r.To.Write(l.Time, ProtocolLine(l)) }

// Command implements dialogue.Reader.
func (r ProtocolReader) Command(*dialogue.Command) {}

package verify

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"pillarbox/mailstore/addr"
)

// Limits of verification. Legitimate mail stays far below. Without them, some work of the library
// would grow with the square of the message's size. The library
//   - copies a whole field for each of its continuation lines (maxHeader, maxLines);
//   - compares each name in a signature with each field (maxNamed, maxLines);
//   - copies white space in the body at each read, until other text follows (maxBlank).
const (
	maxSignatures = 5
	maxHeader     = 128 << 10 // octets
	maxLines      = 4000      // lines of the header
	maxSignature  = 8 << 10   // octets of one signature field
	maxNamed      = 200       // fields that a signature may name
	maxBlank      = 64 << 10  // octets of uninterrupted white space in the body
)

// checkSignatures verifies the first signatures of a message, at most maxSignatures.
func checkSignatures(dns *lookups, message io.Reader) []DKIM {
	in := bufio.NewReaderSize(message, 32<<10)
	header, problem := readHeader(in)
	switch {
	case problem != nil:
		return []DKIM{*problem}
	case header == nil:
		return nil
	}
	body := &guarded{ctx: dns.ctx, in: in}
	found, err := dkim.VerifyWithOptions(io.MultiReader(bytes.NewReader(header), body),
		&dkim.VerifyOptions{
			LookupTXT: dns.txt, MaxVerifications: maxSignatures,
		})
	if len(found) == 0 && err != nil {
		return []DKIM{*cmp.Or(body.problem, &DKIM{Value: PermError, Reason: "unreadable message"})}
	}
	results := make([]DKIM, 0, len(found))
	for _, v := range found {
		results = append(results, result(v, body.problem))
	}
	return results
}

func result(v *dkim.Verification, problem *DKIM) DKIM {
	r := DKIM{Value: Pass, Identifier: v.Identifier}
	if d, err := addr.ParseDomain(v.Domain); err == nil && !d.IsLiteral() {
		r.Domain = d
	}
	switch {
	case problem != nil:
		r.Value, r.Reason = problem.Value, problem.Reason
	case v.Err == nil && r.Domain == "":
		r.Value, r.Reason = PermError, "bad domain"
	case v.Err == nil:
	case dkim.IsTempFail(v.Err):
		r.Value, r.Reason = TempError, "no answer from DNS"
	case dkim.IsPermFail(v.Err):
		r.Value, r.Reason = PermError, brief(v.Err)
	default:
		r.Value, r.Reason = Fail, brief(v.Err)
	}
	return r
}

// brief returns the library's text without data from the message or from our network.
func brief(err error) string {
	text, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "dkim: "), ":")
	return text
}

// readHeader reads the header with its empty line. The result is nil if it contains no signature.
func readHeader(in *bufio.Reader) (header []byte, problem *DKIM) {
	for lines, start := 0, true; ; {
		piece, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return nil, &DKIM{Value: TempError, Reason: "message not readable"}
		}
		header = append(header, piece...)
		if start {
			lines++
		}
		end := start && len(piece) > 0 && len(bytes.TrimRight(piece, "\r\n")) == 0
		if !end && errors.Is(err, io.EOF) {
			header, end = append(bytes.TrimRight(header, "\r\n"), "\r\n\r\n"...), true
		}
		if end || len(header) > maxHeader || lines > maxLines {
			return checkHeader(header, end)
		}
		start = err == nil
	}
}

// checkHeader rejects headers that would be too expensive to verify.
func checkHeader(header []byte, complete bool) ([]byte, *DKIM) {
	signed := false
	for field := range fields(header) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		if !bytes.EqualFold(bytes.TrimSpace(name), []byte("DKIM-Signature")) {
			continue
		}
		signed = true
		if len(value) > maxSignature || bytes.Count(value, []byte(":")) > maxNamed {
			return nil, &DKIM{Value: Policy, Reason: "signature too large"}
		}
	}
	switch {
	case !signed:
		return nil, nil
	case !complete:
		return nil, &DKIM{Value: Policy, Reason: "header too large"}
	}
	return header, nil
}

// guarded is the body as the verifier sees it. A problem ends the body and is recorded: the
// verifier leaks goroutines if a read fails.
type guarded struct {
	ctx     context.Context
	in      io.Reader
	blank   int
	problem *DKIM
}

func (g *guarded) Read(b []byte) (int, error) {
	if g.problem != nil {
		return 0, io.EOF
	}
	if g.ctx.Err() != nil {
		g.problem = &DKIM{Value: TempError, Reason: "no time left"}
		return 0, io.EOF
	}
	n, err := g.in.Read(b)
	for _, c := range b[:n] {
		if c != '\r' && c != '\n' && c != ' ' && c != '\t' {
			g.blank = 0
		} else if g.blank++; g.blank > maxBlank {
			// The library keeps white space in memory until other text follows, and copies it on
			// each read.
			g.problem = &DKIM{Value: Policy, Reason: "too much white space"}
			return 0, io.EOF
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		g.problem = &DKIM{Value: TempError, Reason: "message not readable"}
		err = io.EOF
	}
	return n, err
}

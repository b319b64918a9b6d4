package mailtest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

func (d *DNS) serveUDP(c net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if reply := d.reply(buf[:n], maxDatagram); reply != nil {
			c.WriteTo(reply, from)
		}
	}
}

func (d *DNS) serveTCP(l net.Listener) {
	var open []net.Conn
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			for _, c := range open {
				c.Close()
			}
			return
		}
		open = append(open, c)
		sessions.Go(func() { d.serveStream(c) })
	}
}

// serveStream answers questions that have a length prefix (RFC 1035 §4.2.2).
func (d *DNS) serveStream(c net.Conn) {
	defer c.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		d.mu.Lock()
		d.streams++
		d.mu.Unlock()
		reply := d.reply(query, 1<<16-1)
		if reply == nil {
			continue
		}
		prefix := binary.BigEndian.AppendUint16(nil, uint16(len(reply)))
		if _, err := c.Write(append(prefix, reply...)); err != nil {
			return
		}
	}
}

// reply returns the answer to a message; nil means no answer.
func (d *DNS) reply(query []byte, limit int) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil || header.Response {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	answer := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true,
			RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{q},
	}
	var silent bool
	if answer.RCode, answer.Answers, silent = d.answer(q); silent {
		return nil
	}
	if header.AuthenticData {
		d.mu.Lock()
		answer.AuthenticData = d.signed[normal(q.Name.String())]
		d.mu.Unlock()
	}
	packed, err := answer.Pack()
	if err == nil && len(packed) > limit {
		answer.Truncated, answer.Answers = true, nil
		packed, err = answer.Pack()
	}
	if err != nil {
		return nil
	}
	return packed
}

func (d *DNS) answer(
	q dnsmessage.Question,
) (code dnsmessage.RCode, found []dnsmessage.Resource, silent bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := normal(q.Name.String())
	d.asked[dnsQuestion{name, q.Type}]++
	switch d.failure(name, q.Type) {
	case DNSServFail:
		return dnsmessage.RCodeServerFailure, nil, false
	case DNSRefused:
		return dnsmessage.RCodeRefused, nil, false
	case DNSNXDomain:
		return dnsmessage.RCodeNameError, nil, false
	case DNSSilent:
		return 0, nil, true
	}
	bodies, known := d.records[name]
	if !known {
		return dnsmessage.RCodeNameError, nil, false
	}
	for _, body := range bodies {
		if bodyType(body) == q.Type {
			found = append(found, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{
					Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 60,
				},
				Body: body,
			})
		}
	}
	return dnsmessage.RCodeSuccess, found, false
}

// failure returns the failure for a question. A name takes precedence over all names, then a type
// over all types. The caller holds mu.
func (d *DNS) failure(name string, kind dnsmessage.Type) DNSFailure {
	for _, q := range []dnsQuestion{{name, kind}, {name, 0}, {"", kind}, {"", 0}} {
		if how, ok := d.failures[q]; ok {
			return how
		}
	}
	return DNSAnswers
}

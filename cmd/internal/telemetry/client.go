package telemetry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"pillarbox/mailstore/durable"
)

const (
	sendTime  = 10 * time.Second // for one request
	maxAnswer = 64 << 10         // octets of an answer that are read
)

// client sends spans by OTLP/HTTP. It implements otlptrace.Client. The library's own client links
// all of gRPC for one message type; what that type has on the wire, TracesData has too.
type client struct {
	http        *http.Client
	endpoint    string
	name, value string // of a header field; "": none
	rejected    atomic.Uint64
}

// newClient returns a client. transport is nil but in tests.
func newClient(parts Parts, s Settings) (*client, error) {
	c := &client{endpoint: tracesURL(s.Endpoint)}
	if s.HeaderFile != "" {
		line, err := durable.ReadSecretLine(s.HeaderFile)
		if err != nil {
			return nil, err
		}
		name, value, ok := strings.Cut(line, ":")
		if c.name, c.value = strings.TrimSpace(name), strings.TrimSpace(value); !ok || c.name == "" {
			return nil, fmt.Errorf("%s has no header field in its first line, such as "+
				"\"Authorization: Bearer TOKEN\"", s.HeaderFile)
		}
	}
	transport := &http.Transport{DialContext: parts.Dial, MaxConnsPerHost: 1, IdleConnTimeout: time.Minute}
	if s.CAFile != "" {
		text, err := durable.ReadSmallFile(s.CAFile, durable.MaxSmall)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s contains no certificate in PEM form", s.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	c.http = &http.Client{
		Transport: transport, Timeout: sendTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if parts.transport != nil {
		c.http.Transport = parts.transport
	}
	return c, nil
}

// tracesURL returns the URL of a collector with the path that OTLP has if it has none.
func tracesURL(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Path != "" && u.Path != "/" {
		return endpoint
	}
	return u.JoinPath("v1", "traces").String()
}

// Start implements otlptrace.Client.
func (c *client) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// refusedError is an answer after which the same spans must not be sent again.
type refusedError struct{ status int }

func (e refusedError) Error() string { return fmt.Sprintf("the collector answered %d", e.status) }

// UploadTraces implements otlptrace.Client.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return errors.New("telemetry.endpoint is not a URL")
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "pillarbox")
	if c.name != "" {
		req.Header.Set(c.name, c.value)
	}
	res, err := c.http.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err // the URL may have a secret in it
	} else if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch status := res.StatusCode; {
	case status/100 == 2:
		if res.Header.Get("Content-Type") == "application/x-protobuf" {
			c.rejected.Add(rejectedSpans(answer))
		}
		return nil // the spans have arrived, whatever became of the answer
	case status == http.StatusTooManyRequests, status/100 == 5:
		return fmt.Errorf("the collector answered %d", status)
	default:
		return errors.Join(refusedError{status}, err)
	}
}

// rejectedSpans returns ExportTraceServiceResponse.partial_success.rejected_spans of an answer.
func rejectedSpans(answer []byte) uint64 {
	partial := fieldOne(answer, protowire.BytesType)
	text, n := protowire.ConsumeBytes(partial)
	if n < 0 {
		return 0
	}
	rejected, n := protowire.ConsumeVarint(fieldOne(text, protowire.VarintType))
	if n < 0 || rejected > 1<<31 {
		return 0
	}
	return rejected
}

// fieldOne returns what follows the tag of the first field 1 of this type; nil if there is none.
func fieldOne(message []byte, want protowire.Type) []byte {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		if number == 1 && kind == want {
			return message
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return nil
		}
		message = message[n:]
	}
	return nil
}

package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
)

// ErrNotRunning says that no server serves the data directory.
var ErrNotRunning = errors.New("the server is not running")

// ask sends a request to the control socket of a data directory: in as JSON,
// unless it is nil, and the answer's JSON into out. A refusal by the server is
// an error with its text; ErrNotRunning when there is no server.
func ask(ctx context.Context, data, method, path string, in, out any) error {
	return request(ctx, data, method, path, in, func(answer io.Reader) error { return json.NewDecoder(answer).Decode(out) })
}

// request is ask for an answer that read takes.
func request(ctx context.Context, data, method, path string, in any, read func(answer io.Reader) error) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	return requestWith(ctx, data, method, path, body, read)
}

// requestWith is request with a body of any kind; nil: none.
func requestWith(ctx context.Context, data, method, path string, body io.Reader, read func(answer io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://pillarbox"+path, body)
	if err != nil {
		return err
	}
	signRequest(req)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: controlDialer(data)}}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return ErrNotRunning
	case err != nil:
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return read(resp.Body)
	case http.StatusNotFound:
		return errors.New("the running server does not know this command; it may be another version of the program")
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("the server answers: %s", strings.TrimSpace(string(text)))
	}
}

func controlDialer(data string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, done, err := socketPath(data)
		if err != nil {
			return nil, err
		}
		defer done()
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

// answer writes what ask reads.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// chromium is a running browser. The test speaks the DevTools protocol with it over two pipes: JSON,
// with a NUL after each message.
type chromium struct {
	in *os.File

	mu      sync.Mutex
	last    int                   // owner: mu; number of the last call
	waiting map[int]chan devReply // owner: mu
	tabs    map[string]*tab       // owner: mu; by session
	ended   error                 // owner: mu; why no more replies come
}

// devReply is the reply to a call.
type devReply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// newChromium starts the browser. It trusts the key of cert, and reaches only 127.0.0.1.
func newChromium(t *testing.T, cert *x509.Certificate) *chromium {
	t.Helper()
	program := "chromium-headless-shell"
	if _, err := exec.LookPath(program); err != nil {
		program = "chromium"
	}
	needs(t, program)
	home := t.TempDir()
	key := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	cmd := exec.Command(program, "--headless", "--remote-debugging-pipe", "--no-first-run",
		"--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
		"--hide-scrollbars", "--user-data-dir="+home, "--lang=en",
		"--ignore-certificate-errors-spki-list="+base64.StdEncoding.EncodeToString(key[:]),
		"--host-resolver-rules=MAP "+hostname+" 127.0.0.1, MAP * ~NOTFOUND", "about:blank")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C"}
	readCalls, in, err := os.Pipe()
	noError(t, err)
	out, writeReplies, err := os.Pipe()
	noError(t, err)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the program is a script that starts another
	var said bytes.Buffer
	cmd.ExtraFiles, cmd.Stderr = []*os.File{readCalls, writeReplies}, &said // its descriptors 3 and 4
	noError(t, cmd.Start())
	readCalls.Close()
	writeReplies.Close()

	c := &chromium{in: in, waiting: make(map[int]chan devReply), tabs: make(map[string]*tab)}
	go c.read(out)
	t.Cleanup(func() {
		c.call("", "Browser.close", nil, nil)
		in.Close()
		over := time.AfterFunc(10*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		cmd.Wait()
		over.Stop()
		out.Close()
		if t.Failed() {
			t.Logf("the browser says:\n%s", tail(said.String(), 20))
		}
	})
	return c
}

// read hands replies to their callers, and events to their tabs.
func (c *chromium) read(out *os.File) {
	in := bufio.NewReader(out)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			c.end(err)
			return
		}
		var m struct {
			devReply
			ID                int
			SessionID, Method string
			Params            json.RawMessage
		}
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			c.end(err)
			return
		}
		c.mu.Lock()
		caller, tab := c.waiting[m.ID], c.tabs[m.SessionID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		if caller != nil {
			caller <- m.devReply
		} else if tab != nil && m.Method != "" {
			tab.note(m.Method, m.Params)
		}
	}
}

// end lets all calls fail.
func (c *chromium) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	for id, caller := range c.waiting {
		close(caller)
		delete(c.waiting, id)
	}
}

// call asks the browser, or the tab of a session, to do something. result may be nil.
func (c *chromium) call(session, method string, params, result any) error {
	caller := make(chan devReply, 1)
	c.mu.Lock()
	if c.ended != nil {
		c.mu.Unlock()
		return fmt.Errorf("%s: the browser has ended: %w", method, c.ended)
	}
	c.last++
	c.waiting[c.last] = caller
	text, err := json.Marshal(struct {
		ID        int    `json:"id"`
		SessionID string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Params    any    `json:"params,omitempty"`
	}{c.last, session, method, params})
	if err == nil {
		_, err = c.in.Write(append(text, 0))
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case reply, ok := <-caller:
		if !ok {
			return errors.New(method + ": the browser has ended")
		}
		if reply.Error != nil {
			return errors.New(method + ": " + reply.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(reply.Result, result)
	case <-time.After(30 * time.Second):
		return errors.New(method + ": no reply for 30 seconds")
	}
}

// is names a set of parameters.
type is map[string]any

// tab is a window of the browser, with cookies of its own.
type tab struct {
	*chromium
	session, base string // base: the site's address, without a slash at its end
	loads         chan struct{}
	work          work

	mu   sync.Mutex
	seen visit // owner: mu
}

// work is what a user has done: clicks, and fields that were filled in.
type work struct{ clicks, fields int }

// visit is what the browser told about the loading of a page.
type visit struct {
	status   int // of the page
	octets   int // of the page and its files, with their headers
	requests int
	faults   []string // errors, violations of the policy, requests to other sites
}

// newTab opens a tab for the site at base.
func (c *chromium) newTab(t *testing.T, base string) *tab {
	t.Helper()
	var made struct{ BrowserContextID, TargetID, SessionID string }
	noError(t, c.call("", "Target.createBrowserContext", nil, &made))
	noError(t, c.call("", "Target.createTarget", is{"url": "about:blank", "browserContextId": made.BrowserContextID}, &made))
	noError(t, c.call("", "Target.attachToTarget", is{"targetId": made.TargetID, "flatten": true}, &made))
	b := &tab{chromium: c, session: made.SessionID, base: base, loads: make(chan struct{}, 100)}
	c.mu.Lock()
	c.tabs[b.session] = b
	c.mu.Unlock()
	for _, domain := range []string{"Page", "Network", "Log", "Runtime", "Audits"} {
		b.do(t, domain+".enable", nil, nil)
	}
	return b
}

// do is call for a call that must succeed.
func (b *tab) do(t *testing.T, method string, params, result any) {
	t.Helper()
	if err := b.call(b.session, method, params, result); err != nil {
		t.Fatal(err)
	}
}

// note notes an event of the tab.
func (b *tab) note(method string, params json.RawMessage) {
	var e struct {
		Type              string
		Request           struct{ URL string }
		Response          struct{ Status int }
		EncodedDataLength float64
		Entry             struct{ Level, Source, Text, URL string }
		Issue             struct{ Code string }
	}
	if json.Unmarshal(params, &e) != nil { // some have other types under these names
		e.Type = string(params)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	fault := func(text string) { b.seen.faults = append(b.seen.faults, text) }
	switch method {
	case "Page.loadEventFired":
		b.loads <- struct{}{}
	case "Network.requestWillBeSent":
		b.seen.requests++
		if u := e.Request.URL; !strings.HasPrefix(u, b.base+"/") && !strings.HasPrefix(u, "data:") {
			fault("request to another site: " + u)
		}
	case "Network.responseReceived":
		if e.Type == "Document" {
			b.seen.status = e.Response.Status
		}
	case "Network.loadingFinished":
		b.seen.octets += int(e.EncodedDataLength)
	case "Log.entryAdded":
		// Chromium logs each answer that is an error. The test compares the status itself.
		if e.Entry.Source != "network" || !strings.HasPrefix(e.Entry.Text, "Failed to load resource: the server responded with a status") {
			fault(e.Entry.Level + " of " + e.Entry.Source + ": " + e.Entry.Text)
		}
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
		fault(method + ": " + string(params))
	case "Audits.issueAdded":
		if e.Issue.Code == "ContentSecurityPolicyIssue" || e.Issue.Code == "MixedContentIssue" {
			fault(string(params))
		}
	}
}

// take returns what was noted since the last call.
func (b *tab) take() visit {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	b.seen = visit{}
	return seen
}

// load waits until the page is loaded that act leads to.
func (b *tab) load(t *testing.T, act func()) {
	t.Helper()
	for len(b.loads) > 0 {
		<-b.loads
	}
	b.take()
	act()
	select {
	case <-b.loads:
	case <-time.After(30 * time.Second):
		t.Fatalf("no page after 30 seconds; the page before was:\n%s", b.text(t))
	}
}

// open goes to a path of the site.
func (b *tab) open(t *testing.T, path string) {
	t.Helper()
	b.load(t, func() {
		var gone struct{ ErrorText string }
		b.do(t, "Page.navigate", is{"url": b.base + path}, &gone)
		if gone.ErrorText != "" {
			t.Fatalf("%s: %s", path, gone.ErrorText)
		}
	})
}

// scripts switches the scripts of pages on or off. Those of the test run in any case.
func (b *tab) scripts(t *testing.T, on bool) {
	t.Helper()
	b.do(t, "Emulation.setScriptExecutionDisabled", is{"value": !on}, nil)
}

// resize sets the width of the window.
func (b *tab) resize(t *testing.T, width int) {
	t.Helper()
	b.do(t, "Emulation.setDeviceMetricsOverride",
		is{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// colours sets those that the user prefers: "light" or "dark".
func (b *tab) colours(t *testing.T, scheme string) {
	t.Helper()
	b.do(t, "Emulation.setEmulatedMedia",
		is{"features": []is{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// eval computes an expression in the page; result may be nil.
func (b *tab) eval(t *testing.T, expression string, result any) {
	t.Helper()
	var got struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct{ Exception struct{ Description string } }
	}
	b.do(t, "Runtime.evaluate", is{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if got.ExceptionDetails != nil {
		t.Fatalf("%.200s: %s", expression, got.ExceptionDetails.Exception.Description)
	}
	if result != nil {
		if err := json.Unmarshal(got.Result.Value, result); err != nil {
			t.Fatalf("%.200s: %v", expression, err)
		}
	}
}

// text returns the visible text of the page.
func (b *tab) text(t *testing.T) (text string) {
	t.Helper()
	b.eval(t, "document.body.innerText", &text)
	return text
}

// element is JavaScript for the first visible element of a kind whose text begins with a name.
func element(kind, name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll(%q)].find(e => e.checkVisibility() && e.textContent.trim().startsWith(%q))`, kind, name)
}

// press moves the mouse to an element and clicks. It fails if a user could not see or reach it.
func (b *tab) press(t *testing.T, element string) {
	t.Helper()
	var at *struct {
		X, Y float64
		Free bool
	}
	b.eval(t, `(() => { const e = `+element+`; if (!e) return null;
		e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getClientRects()[0], x = r.x + Math.min(r.width/2, 40), y = r.y + r.height/2;
		const top = document.elementFromPoint(x, y);
		return {X: x, Y: y, Free: e.contains(top)} })()`, &at)
	if at == nil {
		t.Fatalf("the page has no %s:\n%s", element, b.text(t))
	}
	if !at.Free {
		t.Errorf("something covers %s", element)
	}
	b.work.clicks++
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.do(t, "Input.dispatchMouseEvent", is{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// click clicks a link or a button, and waits for the page that it leads to.
func (b *tab) click(t *testing.T, kind, name string) {
	t.Helper()
	b.load(t, func() { b.press(t, element(kind, name)) })
}

// fill types text into the field that has a label.
func (b *tab) fill(t *testing.T, label, text string) {
	t.Helper()
	b.press(t, element("label", label)+"?.querySelector('input, textarea')")
	b.work.clicks-- // the keyboard leads to a field too
	b.work.fields++
	b.do(t, "Input.insertText", is{"text": text}, nil)
}

// picture writes a picture of the whole page to a file.
func (b *tab) picture(t *testing.T, file string) {
	t.Helper()
	var shot struct{ Data []byte }
	b.do(t, "Page.captureScreenshot", is{"format": "png", "captureBeyondViewport": true}, &shot)
	noError(t, os.WriteFile(file, shot.Data, 0o600))
}

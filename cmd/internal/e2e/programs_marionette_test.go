//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// marionette drives a Mozilla program. The protocol is JSON over TCP, each message with its length and
// a colon before it. Scripts run with the program's own rights in the current window.
type marionette struct {
	conn net.Conn
	in   *bufio.Reader
	last int // number of the last call
}

// thunderbirdSettings keep Thunderbird from asking the user anything but the account, and from
// reaching for its maker's servers.
const thunderbirdSettings = `
user_pref("marionette.port", 0);
user_pref("remote.prefs.recommended", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("mail.rights.override", true);
user_pref("mail.shell.checkDefaultClient", false);
user_pref("mailnews.start_page.enabled", false);
user_pref("mailnews.start_page_override.mstone", "ignore");
`

// newThunderbird starts Thunderbird with an empty profile. It trusts the CA in the file.
func newThunderbird(t *testing.T, ca string) *marionette {
	t.Helper()
	needs(t, "thunderbird")
	home := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(home, "user.js"), []byte(thunderbirdSettings), 0o600))
	cmd := exec.Command("thunderbird", "--marionette", "--remote-allow-system-access", "--profile", home)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8", "NO_AT_BRIDGE=1",
		"DISPLAY=" + newDisplay(t)}
	start(t, cmd)
	var port []byte
	eventually(t, "Thunderbird listens", func() (listens bool) {
		port, _ = os.ReadFile(filepath.Join(home, "MarionetteActivePort"))
		return len(port) > 0
	})
	conn, err := net.Dial("tcp", "127.0.0.1:"+string(port))
	noError(t, err)
	m := &marionette{conn: conn, in: bufio.NewReader(conn)}
	t.Cleanup(func() {
		if t.Failed() {
			m.picture(t, "failed")
		}
		conn.Close()
	})
	_, err = m.receive() // the program introduces itself
	noError(t, err)
	m.do(t, "WebDriver:NewSession", is{}, nil)
	m.do(t, "Marionette:SetContext", is{"value": "chrome"}, nil)
	m.eval(t, `Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB)
		.addCertFromBase64(`+"`"+pemBody(read(t, ca))+"`"+`, "C,,")`, nil)
	return m
}

// pemBody returns the base64 text of a PEM file with one block.
func pemBody(text string) string {
	var body []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "-----") {
			body = append(body, strings.TrimSpace(line))
		}
	}
	return strings.Join(body, "")
}

func (m *marionette) receive() (json.RawMessage, error) {
	length, err := m.in.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
	if err != nil {
		return nil, err
	}
	text := make([]byte, n)
	_, err = io.ReadFull(m.in, text)
	return text, err
}

// call asks the program to do something. result may be nil.
func (m *marionette) call(method string, params, result any) error {
	m.last++
	text, err := json.Marshal([]any{0, m.last, method, params})
	if err != nil {
		return err
	}
	m.conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(m.conn, "%d:%s", len(text), text); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	answer, err := m.receive()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	var reply [4]json.RawMessage // kind, number, error, result
	if err := json.Unmarshal(answer, &reply); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if !bytes.Equal(reply[2], []byte("null")) {
		return fmt.Errorf("%s: %.500s", method, reply[2])
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply[3], result)
}

// do is call for a call that must succeed.
func (m *marionette) do(t *testing.T, method string, params, result any) {
	t.Helper()
	if err := m.call(method, params, result); err != nil {
		t.Fatal(err)
	}
}

// eval computes an expression in the current window; result may be nil.
func (m *marionette) eval(t *testing.T, expression string, result any) {
	t.Helper()
	var got struct{ Value json.RawMessage }
	m.do(t, "WebDriver:ExecuteScript", is{"script": "return " + expression, "args": []any{}, "sandbox": "system"}, &got)
	if result != nil {
		if err := json.Unmarshal(got.Value, result); err != nil {
			t.Fatalf("%.200s: %v in %s", expression, err, got.Value)
		}
	}
}

// wait waits until an expression is true.
func (m *marionette) wait(t *testing.T, expression string) {
	t.Helper()
	eventually(t, expression, func() (so bool) {
		m.eval(t, "!!("+expression+")", &so)
		return so
	})
}

// reach waits until a user can use an element, and returns the protocol's name for it.
func (m *marionette) reach(t *testing.T, element string) (id string) {
	t.Helper()
	m.wait(t, element+"?.checkVisibility() && !"+element+".disabled")
	var reference map[string]string
	m.eval(t, element, &reference)
	for _, id = range reference { // it has one entry
	}
	return id
}

// press clicks an element with the mouse.
func (m *marionette) press(t *testing.T, element string) {
	t.Helper()
	m.do(t, "WebDriver:ElementClick", is{"id": m.reach(t, element)}, nil)
}

// fill types text into a field instead of what is there.
func (m *marionette) fill(t *testing.T, element, text string) {
	t.Helper()
	id := m.reach(t, element)
	m.do(t, "WebDriver:ElementClear", is{"id": id}, nil)
	m.do(t, "WebDriver:ElementSendKeys", is{"id": id, "text": text}, nil)
}

// window waits for the window with an address, and makes it the current one.
func (m *marionette) window(t *testing.T, address string) {
	t.Helper()
	eventually(t, "a window "+address, func() bool {
		var handles []string
		m.do(t, "WebDriver:GetWindowHandles", is{}, &handles)
		for _, handle := range handles {
			var here string
			if m.call("WebDriver:SwitchToWindow", is{"handle": handle}, nil) != nil {
				continue // it has just been closed
			}
			if m.eval(t, "document.documentURI", &here); here == address {
				return true
			}
		}
		return false
	})
}

// picture writes a picture of the current window to the directory for pictures.
func (m *marionette) picture(t *testing.T, name string) {
	var shot struct{ Value []byte }
	if dir := os.Getenv("PILLARBOX_E2E_PICTURES"); dir != "" && m.call("WebDriver:TakeScreenshot", is{"full": false}, &shot) == nil {
		os.WriteFile(filepath.Join(dir, t.Name()+" "+name+".png"), shot.Value, 0o600)
	}
}

//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sendmail returns the path of a command that programs of the machine call.
func (o *office) sendmail(t *testing.T) (path string) {
	t.Helper()
	path = o.path("sendmail")
	if err := os.Symlink(binary, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// programMessage returns a message in the form of local programs: with LF line ends and a Bcc.
func programMessage(token string) string {
	return "From: " + anna + "\nTo: bob@partner.example\nBcc: carl@partner.example\nSubject: " + token + "\n\nHello\n.\n.hidden\nthe end of " + token + "\n"
}

// wantProgramMessage expects the message in the sink for these recipients, without the Bcc and with
// an unchanged text.
func wantProgramMessage(t *testing.T, d dump, token string, to ...string) {
	t.Helper()
	var rcpt []string
	for _, args := range d.rcpt {
		rcpt = append(rcpt, strings.Fields(args)[0])
	}
	slices.Sort(rcpt)
	for i := range to {
		to[i] = "<" + to[i] + ">"
	}
	if !slices.Equal(rcpt, to) {
		t.Errorf("%s went to %v, want %v", token, rcpt, to)
	}
	if !strings.HasSuffix(d.message, "\n\nHello\n.\n.hidden\nthe end of "+token+"\n") || strings.Contains(d.message, "Bcc") ||
		!strings.Contains(d.message, "\nMessage-ID: <") || !strings.Contains(d.message, "\nDate: ") {
		t.Errorf("%s arrived as\n%s", token, d.message)
	}
}

// TestOutboundSendmail sends through sendmail: with its flags, in an SMTP session of swaks, and
// while the server is down.
func TestOutboundSendmail(t *testing.T) {
	needs(t, "swaks")
	k := newSink(t, "")
	o := partner(t, k.port)
	sendmail := o.sendmail(t)
	s := o.serve(t)

	cmd := o.command(t, sendmail, "-t", "-i", "-f", anna)
	cmd.Stdin = strings.NewReader(programMessage("by flags"))
	mustRun(t, cmd)
	d := k.wantDumps(t, 1)[0]
	wantProgramMessage(t, d, "by flags", "bob@partner.example", "carl@partner.example")
	if !strings.HasPrefix(d.mail, "<"+anna+">") {
		t.Errorf("MAIL came with %q", d.mail)
	}

	cmd = o.command(t, "swaks", "--pipe", sendmail+" -bs", "--from", anna, "--to", "bob@partner.example", "--data", "-")
	cmd.Stdin = strings.NewReader(letter("by swaks"))
	mustRun(t, cmd)
	if d := k.wantDumps(t, 2); !strings.Contains(d[0].message+d[1].message, "\nthe end of by swaks\n") {
		t.Errorf("arrived: %q", d)
	}

	s.stop(t)
	if err := os.MkdirAll(o.path("data", "pickup"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd = o.command(t, sendmail, "-t", "-i", "-f", anna)
	cmd.Stdin = strings.NewReader(programMessage("while down"))
	mustRun(t, cmd)
	o.serve(t)
	for _, d := range k.wantDumps(t, 3) {
		if strings.Contains(d.message, "while down") {
			wantProgramMessage(t, d, "while down", "bob@partner.example", "carl@partner.example")
		}
	}
	o.wantQueueEmpty(t)
}

// TestOutboundPickup sends files of the pickup folder, by their envelope or their header. A bad
// file is moved aside with a reason.
func TestOutboundPickup(t *testing.T) {
	k := newSink(t, "")
	o := partner(t, k.port)
	o.serve(t)
	folder := filepath.Join("data", "pickup")
	eventually(t, "the folder is there", func() bool { _, err := os.Stat(o.path(folder)); return err == nil })
	o.write(t, filepath.Join(folder, "envelope.eml"), "X-Sender: "+anna+"\nX-Receiver: bob@partner.example\n"+programMessage("by envelope"))
	o.write(t, filepath.Join(folder, "header.eml"), programMessage("by header"))
	o.write(t, filepath.Join(folder, "bad.eml"), "this is no message\n")
	for _, d := range k.wantDumps(t, 2) {
		if strings.Contains(d.message, "by envelope") {
			wantProgramMessage(t, d, "by envelope", "bob@partner.example")
		} else {
			wantProgramMessage(t, d, "by header", "bob@partner.example", "carl@partner.example")
		}
	}
	eventually(t, "the bad one is aside", func() bool {
		_, err := os.Stat(o.path(folder, "bad", "bad.eml.reason.txt"))
		return err == nil
	})
	if text := read(t, o.path(folder, "bad", "bad.eml")); text != "this is no message\n" {
		t.Errorf("it was changed: %q", text)
	}
	o.wantQueueEmpty(t)
	if left, _ := filepath.Glob(o.path(folder, "*.eml")); len(left) > 0 {
		t.Errorf("left in the folder: %v", left)
	}
}

package config

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pillarbox/mailstore/auth"
	"pillarbox/mailstore/directory"
	"pillarbox/mailstore/durable"
)

// LogIns holds the methods, mechanisms and stored secrets of [auth].
type LogIns struct {
	Method     directory.Method       // of domains without a method of their own
	Names      directory.LoginNames   // that a user may log in by
	Mechanisms []string               // permitted
	Store      []directory.SecretKind // stored for every mailbox beside its verifier
	RequireSPA bool                   // accept NTLM only
	Challenge  []network              // get a mechanism that not every mailbox can use
	NTLMv1     bool
	// Recent are the clients that may send without a login after they have read mail by POP3.
	Recent  []network
	KeyFile string // absolute path; "" for secrets.key below data
}

// Passwords holds the rules for new passwords.
type Passwords struct {
	MinLength  int    // in characters; 0: none
	DenyCommon bool   // refuse the passwords that attackers try first
	DenyList   string // absolute path of a file with a password on each line; "" for none
	MaxAge     int    // in days; 0: for ever
	Reuse      int    // number of last passwords that may not be used again

	denied map[string]bool // of DenyList, in small letters
}

// Web holds the settings of the page, beside its addresses in Listen.
type Web struct {
	// OperatorsSecondFactor: the page opens nothing for an operator without a second factor.
	OperatorsSecondFactor bool
}

// Common reports whether a password, in small letters, is refused as one that
// attackers try first.
func (p *Passwords) Common(lower string) bool { return p.DenyCommon && auth.IsCommon(lower) }

// Denied reports whether a password, in small letters, is in the file of denied
// passwords.
func (p *Passwords) Denied(lower string) bool { return p.denied[lower] }

var method = codec[directory.Method]{
	parse: func(s string) (directory.Method, error) {
		m, err := directory.ParseMethod(s)
		if err != nil {
			return m, wrong(err.Error(),
				`write "file", "system", "directory", or "directory:" and the name of a [[directory]]`)
		}
		return m, nil
	},
	format: func(m directory.Method) string { return string(m) },
}

// checkLogIns reports settings that make every login fail, and reads the list of
// denied passwords.
func (l *loader) checkLogIns() {
	c := &l.config
	if l.sound("auth.mechanisms") && len(c.LogIns.Mechanisms) == 0 {
		l.keyProblem("auth.mechanisms", "no login is possible",
			`name some, such as "PLAIN" and "LOGIN"`)
	}
	ntlm := slices.Contains(c.LogIns.Mechanisms, auth.NTLM)
	if c.LogIns.RequireSPA && !ntlm && l.sound("auth.mechanisms") {
		l.keyProblem("auth.require_spa",
			"needs the mechanism NTLM, which auth.mechanisms does not permit",
			`add "NTLM" to auth.mechanisms`)
	}
	byFile := c.LogIns.Method == "" || c.LogIns.Method == directory.ByFile
	if c.LogIns.RequireSPA && !byFile && l.sound("auth.method") {
		l.keyProblem("auth.require_spa",
			fmt.Sprintf("no login is possible: auth.method = %q cannot check SPA", c.LogIns.Method),
			`write method = "file", or leave require_spa out`)
	}
	if l.sound("auth.method") {
		l.checkMethod()
	}
	if len(c.LogIns.Recent) > 0 {
		l.keyWarning("auth.pop_before_smtp_networks", "for half an hour after a POP3 login, every "+
			"program at the same address may send as that user without a password")
	}
	if name := "auth.key_file"; c.LogIns.KeyFile != "" && l.sound(name) {
		if folder := filepath.Dir(c.LogIns.KeyFile); notThere(folder) {
			l.keyProblem(name, "the folder "+folder+" does not exist",
				"make it, and give it to the server's account")
		}
	}
	if l.sound("passwords.deny_list") {
		l.readDenyList()
	}
}

// checkMethod reports a method that names a missing [[directory]].
func (l *loader) checkMethod() {
	const name = "auth.method"
	c := &l.config
	wanted, ok := c.LogIns.Method.Directory()
	known := func(d Directory) bool { return wanted == "" || d.Name == wanted }
	if !ok || slices.ContainsFunc(c.Directories, known) {
		return
	}
	what, hint := "there is no [[directory]]", "write one at the end of the file"
	if wanted != "" {
		what = fmt.Sprintf("there is no [[directory]] called %q", wanted)
		hint += fmt.Sprintf(", with name = %q", wanted)
	}
	l.keyProblem(name, what, hint)
}

func notThere(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// maxDenyList is the largest list of denied passwords, in octets.
const maxDenyList = 64 << 20

func (l *loader) readDenyList() {
	const name = "passwords.deny_list"
	c := &l.config
	if c.Passwords.DenyList == "" {
		return
	}
	text, err := durable.ReadSmallFile(c.Passwords.DenyList, maxDenyList)
	if err != nil {
		l.keyProblem(name, err.Error(), "name a text file with a password on each line")
		return
	}
	denied := make(map[string]bool)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if line := strings.TrimRight(lines.Text(), "\r"); line != "" {
			denied[strings.ToLower(line)] = true
		}
	}
	if err := lines.Err(); err != nil {
		l.keyProblem(name, fmt.Sprintf("%s: %v", c.Passwords.DenyList, err),
			"name a text file with a password on each line")
		return
	}
	c.Passwords.denied = denied
}

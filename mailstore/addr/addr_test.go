package addr

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	good := []struct{ in, local, domain, out string }{
		{"anna@office.example", "anna", "office.example", "anna@office.example"},
		{"Anna@OFFICE.Example", "Anna", "office.example", "Anna@office.example"},
		{`"anna b"@office.example`, "anna b", "office.example", `"anna b"@office.example`},
		{`"anna"@office.example`, "anna", "office.example", "anna@office.example"},
		{`"user@ext.example"@office.example`, "user@ext.example", "office.example", `"user@ext.example"@office.example`},
		{`"a\"b\\c"@x`, `a"b\c`, "x", `"a\"b\\c"@x`},
		{"user%ext@office.example", "user%ext", "office.example", "user%ext@office.example"},
		{"a..b@x.example", "a..b", "x.example", `"a..b"@x.example`},
		{"müller@bücher.example", "müller", "xn--bcher-kva.example", "müller@xn--bcher-kva.example"},
		{"a@[192.0.2.1]", "a", "[192.0.2.1]", "a@[192.0.2.1]"},
		{"a@[IPv6:2001:DB8::1]", "a", "[ipv6:2001:db8::1]", "a@[ipv6:2001:db8::1]"},
		{"a@my_pc", "a", "my_pc", "a@my_pc"},
	}
	for _, tt := range good {
		a, err := Parse(tt.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.in, err)
			continue
		}
		if a.Local != tt.local || string(a.Domain) != tt.domain || a.String() != tt.out {
			t.Errorf("Parse(%q) = %q at %q, writes %q", tt.in, a.Local, a.Domain, a)
		}
	}
	bad := []string{
		"", "anna", "@x", "anna@", "a@b@c", "a b@x", "a@x y", "a@.x", "a@x.", "a@x..y", "a@-x", "a@x-",
		`"a@x`, `"a"b@x`, "a\x00@x", "a@x\x00", `"a` + "\n" + `"@x`, "a@[1.2.3]", "a@[1.2.3.4", "a@[IPv6:1.2.3.4]", "a@[fe80::1]",
		strings.Repeat("a", 253) + "@x", "a@" + strings.Repeat("a", 64), "a@" + strings.Repeat("a.", 130) + "x",
		"a\xff@x", "a@x\xff", "<a@x>", "a@x>", "a,b@x", "a@x/..", `"a\` + "\x01" + `"@x`,
	}
	for _, in := range bad {
		if a, err := Parse(in); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q) = %v, %v; want a syntax error", in, a, err)
		}
	}
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{"ANNA": "anna", "Müller": "müller", "MU\u0308LLER": "müller", "Straße": "strasse"} {
		if got := FoldName(in); got != want {
			t.Errorf("FoldName(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestCheckMailboxName(t *testing.T) {
	for _, ok := range []string{"anna", "anna.b", "o'neil", "a_b-c", "müller", "scanner2", "info", "console", "com", "com10"} {
		if err := CheckMailboxName(ok); err != nil {
			t.Errorf("%q refused: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"", ".", "..", "../x", "a/b", `a\b`, "a\x00b", "con", "con.txt", "nul", "com1", "lpt9", "anna.", ".anna", "a..b", "Anna", "anna ", " anna",
		"p3_anna", "anna.mbx", "a:b", "a*b", "a?b", "a|b", "a<b", `a"b`, "a\nb", strings.Repeat("x", 300), "a\u202eb", "\xff", "a+b", "a%b", "a@b", "MU\u0308",
	} {
		if err := CheckMailboxName(bad); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestCheckDomainName(t *testing.T) {
	for d, ok := range map[Domain]bool{"office.example": true, "office": true, "[1.2.3.4]": false, "con.example": false, "nul": false} {
		if err := CheckDomainName(d); (err == nil) != ok {
			t.Errorf("%q: %v", d, err)
		}
	}
}

// An accepted address must survive formatting and parsing: the reply, the Received header and the
// queue file all contain String().
func FuzzParse(f *testing.F) {
	for _, s := range []string{"anna@office.example", `"a b"@x`, "a@[IPv6:::1]", "müller@bücher.example", `"\""@x`, "a..b@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("unclassed error %v", err)
			}
			return
		}
		again, err := Parse(a.String())
		if err != nil || again != a {
			t.Fatalf("%q reads as %#v, written %q, read again %#v, %v", s, a, a, again, err)
		}
		if strings.ContainsAny(a.String(), "\r\n\x00") {
			t.Fatalf("%q lets a control character through: %q", s, a)
		}
		if name := FoldName(a.Local); CheckMailboxName(name) == nil && strings.ContainsAny(name, "/\\\x00") {
			t.Fatalf("%q names a path", name)
		}
	})
}

package config

import (
	"os"
	"strings"
	"testing"
)

func TestSetText(t *testing.T) {
	for name, tt := range map[string]struct{ text, key, value, want string }{
		"replaced":          {"# top\n[log]\nlevel = \"warn\" # why\nx = 1\n", "log.level", `"info"`, "# top\n[log]\nlevel = \"info\" # why\nx = 1\n"},
		"after its sample":  {"[log]\n# Help.\n# level = \"info\"\n\n# format = \"x\"\n", "log.level", `"warn"`, "[log]\n# Help.\n# level = \"info\"\nlevel = \"warn\"\n\n# format = \"x\"\n"},
		"after the header":  {"a = 1\n[log]\nformat = 1\n", "log.level", `"warn"`, "a = 1\n[log]\nlevel = \"warn\"\nformat = 1\n"},
		"no section":        {"a = 1", "log.level", `"warn"`, "a = 1\n\n[log]\nlevel = \"warn\"\n"},
		"empty":             {"", "log.level", `"warn"`, "\n[log]\nlevel = \"warn\"\n"},
		"without a section": {"hostname = \"a\"\n\n# About logs.\n[log]\n", "data", `"/x"`, "hostname = \"a\"\ndata = \"/x\"\n\n# About logs.\n[log]\n"},
		"only sections":     {"# About logs.\n[log]\n", "data", `"/x"`, "data = \"/x\"\n# About logs.\n[log]\n"},
		"list over lines":   {"[listen]\npop3 = [ # here\n  \":110\", # ] one\n  \"]:111\",\n]\nsmtp = []\n", "listen.pop3", `[":1"]`, "[listen]\npop3 = [\":1\"]\nsmtp = []\n"},
		"other section":     {"[a]\nlevel = 1\n[log]\n[b]\nlevel = 2\n", "log.level", "3", "[a]\nlevel = 1\n[log]\nlevel = 3\n[b]\nlevel = 2\n"},
		"in a string":       {"[a]\nx = '''\n[log]\nlevel = 1\n'''\n[log]\nlevel = 2\n", "log.level", "3", "[a]\nx = '''\n[log]\nlevel = 1\n'''\n[log]\nlevel = 3\n"},
		"dotted":            {"log.level = 1\n", "log.level", "2", "log.level = 2\n"},
		"CRLF":              {"[log]\r\nlevel = 1\r\n[a]\r\n", "a.b", "2", "[log]\r\nlevel = 1\r\n[a]\r\nb = 2\r\n"},
		"CRLF, replaced":    {"[log]\r\nlevel = 1\r\n", "log.level", "2", "[log]\r\nlevel = 2\r\n"},
		"byte order mark":   {"\xef\xbb\xbfdata = 1\n", "data", "2", "\xef\xbb\xbfdata = 2\n"},
		"entry of a table":  {"[[route]]\nlevel = 1\n", "log.level", "2", "[[route]]\nlevel = 1\n\n[log]\nlevel = 2\n"},
	} {
		if got := string(SetText([]byte(tt.text), tt.key, tt.value)); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// Every key can be set in the sample, where it then has this line alone.
func TestSetTextSample(t *testing.T) {
	text, err := os.ReadFile("../../../etc/pillarbox.toml")
	if err != nil {
		t.Fatal(err)
	}
	sample := string(text)
	for _, key := range []string{"data", "log.level", "listen.pop3", "auth.require_spa", "limits.connections"} {
		text := string(SetText([]byte(sample), key, `"new"`))
		if rest := strings.Replace(text, leaf(key)+" = \"new\"\n", "", 1); rest != sample && strings.Count(text, "\n") != strings.Count(sample, "\n") {
			t.Errorf("%s: more than one line has changed", key)
		}
	}
}

func FuzzSetText(f *testing.F) {
	f.Add("[log]\nlevel = [1, # \n \"]\"]\n", "log.level")
	f.Add("a='''x\n", "data")
	f.Fuzz(func(t *testing.T, text, key string) {
		got := SetText([]byte(text), key, "1")
		if !strings.Contains(string(got), "1") {
			t.Errorf("%q has no value in %q", key, got)
		}
	})
}

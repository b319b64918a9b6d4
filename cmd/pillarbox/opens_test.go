package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// opens are the files of source that may open files by themselves, and why. Everything else reads what an administrator
// may have put there through durable.ReadSmall and its like, which never wait for a named pipe.
var opens = map[string]string{
	"cmd/internal/control/protocol.go":      "the data directory",
	"cmd/internal/netinfo/holder.go":        "/proc",
	"cmd/internal/doctor/checks/machine.go": "/proc",
	"cmd/internal/netinfo/routes.go":        "/proc",
	"cmd/pillarbox/sendmail_submit.go":      "the pickup folder",
}

var opening = regexp.MustCompile(`\bos\.(ReadFile|Open)\(|\bdurable\.ReadFile\(`)

func TestFilesAreLookedAtBeforeTheyAreOpened(t *testing.T) {
	seen := make(map[string]bool)
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		name := filepath.ToSlash(strings.TrimPrefix(path, "../../"))
		lab := regexp.MustCompile(`etc/lab/|internal/(loginbench|pagebench|e2e)/`).MatchString(name)
		if err != nil || e.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || lab {
			return err
		}
		text, err := os.ReadFile(path)
		if found := opening.Find(text); found != nil {
			seen[name] = true
			if opens[name] == "" {
				t.Errorf("%s calls %s): durable.ReadSmall and ReadSmallFile are for settings; or the list of this test wants its reason", name, found)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range opens {
		if !seen[name] {
			t.Errorf("%s opens no file any more", name)
		}
	}
}

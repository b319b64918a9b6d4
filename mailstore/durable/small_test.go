package durable

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadSmall puts every kind of object in place of a file. None may block the reader.
func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	root, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at := func(name string) string { return filepath.Join(dir, name) }
	socket, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	err = errors.Join(
		os.WriteFile(at("file"), []byte("1234"), 0o600),
		os.WriteFile(at("large"), []byte("12345"), 0o600),
		os.Mkdir(at("dir"), 0o700),
		syscall.Mkfifo(at("pipe"), 0o600),
		os.Symlink("file", at("link")),
		os.Symlink("pipe", at("link to pipe")),
		os.Symlink("socket", at("link to socket")),
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, why := range map[string]string{
		"file": "", "link": "", "large": "more than 4 octets", "dir": "a directory", "pipe": "a named pipe", "socket": "a socket",
		"link to pipe": "a named pipe", "link to socket": "not a regular file",
	} {
		for way, read := range map[string]func() ([]byte, error){
			"below a root": func() ([]byte, error) { return ReadSmall(root, name, 4) },
			"by its path":  func() ([]byte, error) { return ReadSmallFile(at(name), 4) },
		} {
			text, err := read()
			if why == "" {
				if err != nil || string(text) != "1234" {
					t.Errorf("%s %s: %q, %v", name, way, text, err)
				}
				continue
			}
			if odd, ok := errors.AsType[*FileError](err); !ok || !strings.Contains(odd.Why, why) || !strings.HasSuffix(odd.Name, name) {
				t.Errorf("%s %s: %v", name, way, err)
			}
		}
	}
	if _, err := ReadSmall(root, "none", 4); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if text, err := ReadSmallFile("/proc/self/status", 4); err == nil {
		t.Errorf("a file that says it is empty gave %d octets, and 4 may be read", len(text))
	}
}

func TestDamagesAreToldRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reported []string
		d := NewDamageReporter(func(name string, err error) {
			if err == nil {
				err = errors.New("good")
			}
			reported = append(reported, name+": "+err.Error())
		})
		bad, worse := errors.New("bad"), errors.New("worse")
		for range 100 {
			d.Report("a", bad)
			d.Report("b", nil)
			time.Sleep(time.Second)
		}
		d.Report("a", worse)
		time.Sleep(time.Hour)
		d.Report("a", worse)
		d.Report("a", nil)
		d.Report("a", nil)
		if got := strings.Join(reported, ", "); got != "a: bad, a: worse, a: worse, a: good" {
			t.Error(got)
		}
		for range 3 * maxReported {
			d.Report(strings.Repeat("x", len(d.reported)), bad)
		}
		if len(d.reported) > maxReported {
			t.Errorf("%d are remembered", len(d.reported))
		}
		(*DamageReporter)(nil).Report("a", bad)
	})
}

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSecretFile: others cannot read a file with a password, even where another file was before.
func TestSecretFile(t *testing.T) {
	for _, before := range []os.FileMode{0, 0o644, 0o666} {
		path := filepath.Join(t.TempDir(), "x.txt")
		if before != 0 {
			if err := os.WriteFile(path, []byte("longer than the new text"), before); err != nil {
				t.Fatal(err)
			}
		}
		for _, secret := range []bool{true, false} {
			if err := writeFor(path, []byte("text"), secret); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm()&0o077 != 0 || info.Size() != 4 {
				t.Errorf("after %o: %v, %v", before, info.Mode(), err)
			}
		}
	}
}

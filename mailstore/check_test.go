package mailstore

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestFaults(t *testing.T) {
	const id = someID
	h := newHouse(t, Options{})
	h.put(t, anna+"/"+id+"_4.eml", "a\r\n")
	h.put(t, anna+"/"+id+"_3.eml", "b\r\n")
	h.put(t, anna+"/"+id[:idLen-1]+"x.eml", "c\n")
	h.put(t, anna+"/"+id[:idLen-1]+"0_5.eml", ".a\n\r\n")
	h.put(t, anna+"/"+id[:idLen-1]+"8_4.eml", "lf\n\n")
	h.put(t, anna+"/"+id[:idLen-1]+"9_5.eml", "cr\r\r\n")
	h.put(t, anna+"/"+id[:idLen-1]+"1_700.eml", "b\r\n"+strings.Repeat("x", 509)+strings.Repeat("\x00", 188))
	h.put(t, anna+"/"+id[:idLen-1]+"2_9.eml", strings.Repeat("\x00", 512))
	must(t, os.Mkdir(h.dir+"/"+anna+"/folder.eml", 0o700))
	var kinds []FaultKind
	var zeros int64
	held, err := h.Faults(anna, func(f Fault) {
		kinds = append(kinds, f.Kind)
		zeros += f.Zeros
		if f.Err == nil || f.File == "" {
			t.Errorf("%+v", f)
		}
	})
	must(t, err)
	slices.Sort(kinds)
	if want := []FaultKind{FaultLines, FaultLines, FaultLines, FaultSize, FaultSize, FaultDuplicate, FaultZeros, FaultZeros}; !slices.Equal(kinds, want) || held.Messages != 8 {
		t.Errorf("%v of %d messages, want %v", kinds, held.Messages, want)
	}
	if zeros != 188+512 {
		t.Errorf("%d zeros", zeros)
	}
	_, err = h.Faults("mailbox/office.example/P3_nobody.mbx", func(Fault) {})
	wantErr(t, err, ErrNoMailbox)
}

// A lone CR or LF is detected however the text is split into writes, and CRLF never is.
func TestLineScanner(t *testing.T) {
	for text, alone := range map[string]bool{
		"": false, "a": false, "a\r\nb\r\n": false, "\r\n\r\n": false, "a\r\nb": false,
		"\n": true, "\r": true, "\n\r": true, "\r\r\n": true, "a\rb\r\n": true, "a\nb\r\n": true, "a\r\n\n": true, "a\r\n\r": true,
	} {
		for cut := range len(text) + 1 {
			var whole, parts lineScanner
			whole.Write([]byte(text))
			parts.Write([]byte(text[:cut]))
			parts.Write([]byte(text[cut:]))
			if whole.alone() != alone || parts != whole {
				t.Errorf("%q, cut at %d: %+v and %+v, want %v", text, cut, whole, parts, alone)
			}
		}
	}
}

// The count of zeros does not depend on how the text is split into writes.
func TestZeroCounter(t *testing.T) {
	part := strings.Repeat("\x00", sector)
	for text, want := range map[string]int64{
		"": 0, "a": 0, "\x00": 1, part: sector, part + part + "x": 2 * sector, "x" + part: 1, "x" + part[1:] + part: sector, part[1:] + "x" + part[1:]: sector - 1,
	} {
		for _, cut := range []int{0, 1, len(text) / 2, max(0, len(text)-1), len(text)} {
			var z ZeroCounter
			z.Write([]byte(text[:min(cut, len(text))]))
			z.Write([]byte(text[min(cut, len(text)):]))
			if got := z.Count(); got != want {
				t.Errorf("%d octets, cut at %d: %d, want %d", len(text), cut, got, want)
			}
		}
	}
}

func BenchmarkZeroCounter(b *testing.B) {
	text := []byte(strings.Repeat("Hello, this is a line of a message.\r\n", 10_000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		var z ZeroCounter
		z.Write(text)
	}
}

// Rename gives a message a name that matches its content, and keeps its unique-id.
func TestRename(t *testing.T) {
	const id = someID
	for _, tt := range []struct{ file, content, want string }{
		{id + "_4.eml", "a\r\n", id + "_3.eml"},
		{id + "_3.eml", "a\r\n", id + "_3.eml"},
		{id + "_9.eml", "a\r\n.\r\n", id + "_6d.eml"},
		{id + "_9.eml", "", id + "_0.eml"},
		{id + "_9.eml", "a\nb\r\n", id + ".eml"},
		{id + "_9.eml", "a\r\nb", id + ".eml"},
		{id + "_9.eml", "\n", id + ".eml"},
		{id + "_4.eml", "a\nb\n", id + ".eml"},
		{id + "_6.eml", "a\rb\r\n\r", id + ".eml"},
		{id + "_9.eml", "a\r\n\x00", id + ".eml"},
	} {
		h := newHouse(t, Options{})
		h.put(t, anna+"/"+tt.file, tt.content)
		got, err := h.Rename(anna, tt.file)
		must(t, err)
		if got != tt.want {
			t.Errorf("%s with %q becomes %s, want %s", tt.file, tt.content, got, tt.want)
		}
		must(t, h.Check(anna))
		m := openDrop(t, h.Store, anna)
		if all := m.Messages(); len(all) != 1 || all[0].UID != id {
			t.Errorf("%s: afterwards the mailbox holds %v", tt.file, all)
		}
	}
}

func TestRenameRefused(t *testing.T) {
	h := newHouse(t, Options{})
	h.put(t, anna+"/"+someID+"_4.eml", "a\r\n")
	h.put(t, anna+"/"+someID+"_3.eml", "b\r\n")
	_, err := h.Rename(anna, someID+"_4.eml")
	wantErr(t, err, fs.ErrExist)
	_, err = h.Rename(anna, "hello.eml")
	wantErr(t, err, ErrDamaged)
	_, err = h.Rename(anna, someID+"_5.eml")
	wantErr(t, err, fs.ErrNotExist)
	_, err = h.Rename("mailbox/office.example/P3_nobody.mbx", someID+"_5.eml")
	wantErr(t, err, ErrNoMailbox)
}

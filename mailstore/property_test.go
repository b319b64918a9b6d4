package mailstore

import (
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/mailtext"
)

// awkwardBodies are bodies that random generation would not find.
var awkwardBodies = []string{
	"", "\r\n", ".", ".\r\n", "..\r\n", "\r\n.\r\n", "\n.\n", "\r.\r", "no final newline", "bare\nendings\rof both\r\r\nkinds\n\r",
	"Subject: header only\r\n\r\n", "Subject: header only", "\x00\x00\r\n\x00", "\xff\xfe\x80 8-bit \xe4\r\n", "From me\r\n>From me\r\n",
	strings.Repeat("long", 100_000), strings.Repeat(".", 100_000) + "\r\n.", strings.Repeat("\r", 100), strings.Repeat("\n", 40_000),
}

// seeded returns a random source. PILLARBOX_SEED repeats the seed that a failing test has logged.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("PILLARBOX_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("PILLARBOX_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestBytesAreKept checks that normalised text is stored, fetched, copied into another mailbox
// under the same ID and fetched there unchanged. Normalising it again changes nothing. It tries
// sizes around every limit of the store.
func TestBytesAreKept(t *testing.T) {
	rng := seeded(t)
	bodies := append([]string{}, awkwardBodies...)
	for _, edge := range []int{smallMost, bufferSize, smallMax} {
		for size := edge - 2; size <= edge+2; size++ {
			bodies = append(bodies, randomBody(rng, size), strings.Repeat("x", size-2)+"\r\n", strings.Repeat("x", size-3)+"\r\n.")
		}
	}
	for range 60 {
		bodies = append(bodies, randomBody(rng, rng.IntN(100_000)))
	}
	for _, log := range []bool{false, true} {
		t.Run("log "+strconv.FormatBool(log), func(t *testing.T) {
			h := newHouse(t, Options{})
			if log {
				must(t, h.Recover(RecoverOptions{LogSize: 4 << 20}))
				defer func() { must(t, h.Store.Close()) }()
			}
			keptAll(t, h, rng, bodies)
		})
	}
}

// TestBigBytesAreKept does the same with a large message. The end-to-end tests use one of 50 MB.
func TestBigBytesAreKept(t *testing.T) {
	if testing.Short() {
		t.Skip("a large message is not short")
	}
	rng := seeded(t)
	block := randomBody(rng, 1<<20)
	keptAll(t, newHouse(t, Options{}), rng, []string{strings.Repeat(block, 8)})
}

func normalised(t *testing.T, text string) string {
	t.Helper()
	out, err := io.ReadAll(mailtext.NewReader(strings.NewReader(text)))
	must(t, err)
	return string(out)
}

// keptAll delivers the bodies and follows them.
func keptAll(t *testing.T, h house, rng *rand.Rand, bodies []string) {
	t.Helper()
	want := make([]string, len(bodies))
	for i, body := range bodies {
		want[i] = normalised(t, body)
		in := h.Create()
		for rest := want[i]; rest != ""; {
			part := rest[:1+rng.IntN(len(rest))]
			_, err := io.WriteString(in, part)
			must(t, err)
			rest = rest[len(part):]
		}
		_, err := in.Commit([]string{anna})
		must(t, err)
	}
	ids := wantBodies(t, h.Store, anna, want)
	snap, err := h.Snapshot(anna)
	must(t, err)
	for i, id := range ids {
		c, err := snap.Open(i)
		must(t, err)
		in := h.Create()
		n := mailtext.NewWriter(in)
		_, err = io.Copy(n, c)
		must(t, err)
		must(t, n.Finish())
		must(t, c.Close())
		must(t, in.CommitAs(id, boss))
	}
	for i, id := range wantBodies(t, h.Store, boss, want) {
		if id != ids[i] {
			t.Errorf("message %d was %s and is %s", i, ids[i], id)
		}
	}
}

// wantBodies expects these messages in a mailbox, and returns their unique-ids.
func wantBodies(t *testing.T, s *Store, dir string, want []string) (ids []string) {
	t.Helper()
	must(t, s.Check(dir))
	m, err := s.OpenMaildrop(dir)
	must(t, err)
	defer m.Close()
	if got := len(m.Messages()); got != len(want) {
		t.Fatalf("%d messages, want %d", got, len(want))
	}
	var octets int64
	for i, body := range want {
		if got := readMessage(t, m, i); got != body {
			t.Errorf("message %d has become %.60q, it was %.60q", i, got, body)
		}
		ids = append(ids, m.Messages()[i].UID)
		octets += int64(len(body))
	}
	if held, err := s.Stat(dir); err != nil || held.Bytes != octets || m.Octets() != octets {
		t.Errorf("%d octets counted, %d listed, %d were brought in: %v", held.Bytes, m.Octets(), octets, err)
	}
	return ids
}

// LIST and RETR agree on the size of a foreign file, whatever its line ends are.
func TestForeignSizes(t *testing.T) {
	rng := seeded(t)
	h := newHouse(t, Options{})
	bodies := append([]string{}, awkwardBodies...)
	for range 40 {
		bodies = append(bodies, randomBody(rng, rng.IntN(5000)))
	}
	for i, body := range bodies {
		h.put(t, anna+"/"+strconv.Itoa(1000+i)+".eml", body)
	}
	m := openDrop(t, h.Store, anna)
	for i, message := range m.Messages() {
		if got := readMessage(t, m, i); int64(len(got)) != message.Size || got != "" && !strings.HasSuffix(got, "\r\n") {
			t.Errorf("message %d has %d octets, %d are promised: %.60q", i, len(got), message.Size, got)
		}
	}
	if len(m.Messages()) != len(bodies) {
		t.Errorf("%d messages, want %d", len(m.Messages()), len(bodies))
	}
}

// The order of arrival survives a copy, even within one second.
func TestOrderIsKept(t *testing.T) {
	h := newHouse(t, Options{})
	then := time.Date(2004, 1, 1, 0, 0, 0, 0, time.UTC)
	var want []string
	for i := range 300 {
		id := h.NewID(then.Add(time.Duration(i/100) * time.Second))
		in := h.Create()
		_, err := io.WriteString(in, strconv.Itoa(i)+"\r\n")
		must(t, err)
		must(t, in.CommitAs(id, anna))
		want = append(want, strconv.Itoa(i)+"\r\n")
	}
	wantBodies(t, h.Store, anna, want)
}

package backup

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"pillarbox/mailstore/durable"
)

// BenchmarkSnapshots makes a first and a next snapshot of a data directory with many messages, 100
// of which are new in the next one. PILLARBOX_BENCH_MESSAGES sets their number. The baselines are
// what must be done at least: a copy of the same octets to one file on the same disk, with a sync,
// and a list of all names.
func BenchmarkSnapshots(b *testing.B) {
	messages := 10_000
	if n, err := strconv.Atoi(os.Getenv("PILLARBOX_BENCH_MESSAGES")); err == nil {
		messages = n
	}
	const boxes, size = 100, 8 << 10
	data, err := durable.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer data.Close()
	text := []byte(strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", size/64))
	put := func(i int) {
		name := fmt.Sprintf("%s/mailbox/o.example/P3_%03d.mbx/P3_20261122090047%012d_%d.eml",
			data.Name(), i%boxes, i, size)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for i := range boxes {
		if err := os.MkdirAll(fmt.Sprintf("%s/mailbox/o.example/P3_%03d.mbx", data.Name(), i), 0o700); err != nil {
			b.Fatal(err)
		}
	}
	for i := range messages {
		put(i)
	}
	if err := data.SyncAll(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		dir, err := durable.Open(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		r, err := Init(dir)
		if err != nil {
			b.Fatal(err)
		}
		took := func(do func() error) float64 {
			began := time.Now()
			if err := do(); err != nil {
				b.Fatal(err)
			}
			return time.Since(began).Seconds()
		}
		backup := func() error {
			_, err := r.Create(context.Background(), Source{Data: data}, Options{})
			return err
		}
		copied := took(func() error { return copyAll(r.FS, text, messages) })
		first := took(backup)
		for range 100 {
			put(messages)
			messages++
		}
		listed := took(func() error { return walk(data, ".", &names{}) })
		next := took(backup)
		all, _, err := r.List()
		if err != nil || len(all) != 2 {
			b.Fatal(len(all), err)
		}
		verified := took(func() error { _, err := r.Verify(context.Background(), &all[1], nil); return err })
		b.ReportMetric(first, "s/first")
		b.ReportMetric(first/copied, "first/copy")
		b.ReportMetric(next, "s/next")
		b.ReportMetric(next/listed, "next/list")
		b.ReportMetric(verified, "s/verify")
		dir.Close()
	}
}

// copyAll writes n times text to one file and syncs it.
func copyAll(fsys durable.FS, text []byte, n int) error {
	f, err := fsys.OpenFile("copy", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	defer f.Close()
	for range n {
		if _, err := f.Write(text); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return fsys.Remove("copy")
}

// names is a visitor that does nothing.
type names struct{}

func (*names) directory(string) error    { return nil }
func (*names) file(string) error         { return nil }
func (*names) passedOver(string, string) {}

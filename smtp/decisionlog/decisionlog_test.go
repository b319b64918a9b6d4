package decisionlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp"
	"pillarbox/smtp/policy"
)

func disk(t testing.TB) (*mailtest.FailFS, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return mailtest.NewFailFS(root), dir
}

func address(t testing.TB, s string) addr.Address {
	t.Helper()
	a, err := addr.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// full is a record with every fact.
func full(t testing.TB) Record {
	r := Record{
		Time: time.Date(2025, 3, 4, 5, 6, 7, 8, time.UTC), Trace: "abc123", Stage: "message",
		Verdict: policy.Refuse.String(), Reply: "553 5.7.1 no",
	}
	fill(t, reflect.ValueOf(&r.Facts).Elem())
	return r
}

// fill sets every field below v to a value that is valid and not zero.
func fill(t testing.TB, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *addr.Address:
		*p = address(t, `"the boss"@office.example`)
		return
	case *netip.Addr:
		*p = netip.MustParseAddr("2001:db8::1")
		return
	case *netip.Prefix:
		*p = netip.MustParsePrefix("10.0.0.0/24")
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint16:
		v.SetUint(0x304)
	case reflect.String:
		v.SetString("text")
	default:
		t.Fatalf("fill has no value for %s", v.Type())
	}
}

// numbered is a record with a number as its trace.
func numbered(n int) Record {
	return Record{
		Time: time.Unix(int64(n), 0).UTC(), Trace: fmt.Sprint(n), Verdict: policy.Accept.String(),
		Facts: policy.Facts{Client: policy.Client{Remote: netip.MustParseAddr("192.0.2.1")}},
	}
}

func traces(all []Record) string {
	var words []string
	for _, r := range all {
		words = append(words, r.Trace)
	}
	return strings.Join(words, " ")
}

func recent(t testing.TB, fsys durable.FS, limit int) string {
	t.Helper()
	all, err := Recent(fsys, limit)
	if err != nil {
		t.Fatal(err)
	}
	return traces(all)
}

// Every fact must be read as it was written: decisions are replayed from the log.
func TestRoundTrip(t *testing.T) {
	fsys, _ := disk(t)
	want := full(t)
	facts := reflect.ValueOf(want.Facts)
	for _, field := range reflect.VisibleFields(facts.Type()) {
		if facts.FieldByIndex(field.Index).IsZero() {
			t.Errorf("the record of this test lacks the fact %s", field.Name)
		}
	}
	j := Open(fsys)
	j.Add(want)
	j.Close()
	got, err := Recent(fsys, 10)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if !want.Refused() || numbered(1).Refused() {
		t.Error("Refused is wrong")
	}
}

// A line that an earlier version wrote, before the facts had parts, is read still.
func TestFormatStays(t *testing.T) {
	const line = `{"time":"2025-03-04T05:06:07.000000008Z","trace":"abc123","stage":"rcpt","facts":{"service":"submission",` +
		`"remote":"2001:db8::1","name":"host.example","name_state":"verified","tls":772,"helo":"host",` +
		`"user":{"address":"anna@office.example","outside":true},"from":"anna@office.example","from_hosted":true,` +
		`"to":"x@remote.example","kind":"remote","forwards":true,"header_field":"From","hops":3},"verdict":"refuse","reply":"550 5.7.1 no"}`
	var r Record
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	f := &r.Facts
	if f.Service != smtp.Submission || f.TLSVersion != 772 || f.User.Address != f.From || f.To != address(t, "x@remote.example") ||
		f.Kind != policy.RecipientRemote || !f.Forwards || f.Hops != 3 {
		t.Errorf("read as %+v", r)
	}
	if got, err := json.Marshal(r); err != nil || string(got) != line {
		t.Errorf("written as\n%s, %v; want\n%s", got, err, line)
	}
}

func TestRotation(t *testing.T) {
	fsys, dir := disk(t)
	if got := recent(t, fsys, 10); got != "" {
		t.Errorf("before the first record %q", got)
	}
	j := Open(fsys)
	j.max = 1000
	written := 0
	for range 3 { // starts of the server
		for range 20 {
			written++
			j.Add(numbered(written))
		}
		j.Close()
		j = Open(fsys)
		j.max = 1000
	}
	for range 100 {
		written++
		j.Add(numbered(written))
		for len(j.queue) > 0 { // one at a time
			time.Sleep(time.Millisecond)
		}
	}
	j.Close()
	if j.Dropped() != 0 {
		t.Errorf("%d dropped", j.Dropped())
	}
	files, err := os.ReadDir(filepath.Join(dir, "journal"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Size() > 1000 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f.Name(), info, err)
		}
	}
	if got := recent(t, fsys, 3); got != "158 159 160" {
		t.Errorf("the last 3 are %q", got)
	}
	all, _ := Recent(fsys, 1000)
	for i, r := range all {
		if want := fmt.Sprint(160 - len(all) + 1 + i); r.Trace != want {
			t.Fatalf("record %d is %s, want %s", i, r.Trace, want)
		}
	}
	if len(all) < 5 { // the scheduler decides how many are written at a time
		t.Errorf("only %d are left", len(all))
	}
}

// A crash cuts the last line short; other programs may write garbage.
func TestTorn(t *testing.T) {
	fsys, dir := disk(t)
	j := Open(fsys)
	j.Add(numbered(1))
	j.Close()
	file := filepath.Join(dir, "journal/decisions.jsonl")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range []string{string(data[:len(data)/2]), "{}", "null", "\n\n", `{"time":"2025-01-01T00:00:00Z","facts":{"from":"a b"}}`, "\xff\x00", string(data[:len(data)-1])} {
		if err := os.WriteFile(file, append(data, torn...), 0o600); err != nil {
			t.Fatal(err)
		}
		want := "1"
		if torn == string(data[:len(data)-1]) { // only the end of the line is missing
			want = "1 1"
		}
		if got := recent(t, fsys, 10); got != want {
			t.Errorf("with %q at the end %q", torn, got)
		}
		j := Open(fsys)
		j.Add(numbered(2))
		j.Close()
		if got := recent(t, fsys, 10); got != want+" 2" {
			t.Errorf("and one more after %q: %q", torn, got)
		}
	}
}

// A failing disk stops no caller. After it recovers, the log goes on.
func TestDiskFails(t *testing.T) {
	fsys, _ := disk(t)
	j := Open(fsys)
	broken := errors.New("disk broken")
	fsys.Start(mailtest.From(1, broken))
	for n := range 3 {
		j.Add(numbered(n))
	}
	for j.Dropped() < 3 {
		time.Sleep(time.Millisecond)
	}
	fsys.Start(nil)
	j.Add(numbered(9))
	j.Close()
	if got := recent(t, fsys, 10); got != "9" || j.Dropped() != 3 {
		t.Errorf("written %q, dropped %d", got, j.Dropped())
	}
	for n := 1; n < 20; n++ {
		j := Open(fsys)
		j.max = 100
		fsys.Start(mailtest.Nth(n, broken))
		j.Add(numbered(n))
		j.Close()
		fsys.Start(nil)
		if _, err := Recent(fsys, 10); err != nil {
			t.Fatal(err)
		}
	}
}

// Records that come too fast or are too long are dropped.
func TestBounded(t *testing.T) {
	fsys, _ := disk(t)
	hold, held := make(chan bool), make(chan bool, 1)
	fsys.Start(func(int, mailtest.Op) error {
		select {
		case held <- true:
		default:
		}
		<-hold
		return nil
	})
	j := Open(fsys)
	j.Add(numbered(0))
	<-held
	for n := range queue + 10 {
		j.Add(numbered(n + 1))
	}
	if got := j.Dropped(); got != 10 {
		t.Errorf("%d dropped, want 10", got)
	}
	close(hold)
	long := numbered(0)
	long.Facts.Helo = strings.Repeat("x", maxRecord)
	j.Close()
	fsys.Start(nil)
	j = Open(fsys)
	j.Add(long)
	j.Close()
	j.Add(numbered(0))
	if got := j.Dropped(); got != 2 {
		t.Errorf("%d dropped, want the long one and the late one", got)
	}
	if all, err := Recent(fsys, 1<<20); err != nil || len(all) != queue+1 {
		t.Errorf("%d written, %v", len(all), err)
	}
	j.Close() // a second time
}

func TestConcurrent(t *testing.T) {
	fsys, _ := disk(t)
	j := Open(fsys)
	j.max = 2000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range 50 {
				j.Add(numbered(n))
				if _, err := Recent(fsys, 5); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	j.Close()
	if j.Dropped() != 0 {
		t.Errorf("%d dropped", j.Dropped())
	}
}

func TestRefusedUnknown(t *testing.T) {
	var all []Record
	n := 0
	add := func(ip, from, to, verdict string) *Record {
		n++
		all = append(all, Record{
			Time: time.Unix(int64(n), 0), Trace: fmt.Sprint(n), Stage: "rcpt", Verdict: verdict,
			Facts: policy.Facts{
				Client:      policy.Client{Remote: netip.MustParseAddr(ip)},
				Transaction: policy.Transaction{From: address(t, from), Recipient: policy.Recipient{To: address(t, to)}},
			},
		})
		return &all[len(all)-1]
	}
	refuse, accept := policy.Refuse.String(), policy.Accept.String()
	add("10.0.0.1", "a@x.example", "b@x.example", refuse)
	add("10.0.0.1", "a@x.example", "b@x.example", accept)
	add("10.0.0.2", "a@x.example", "b@x.example", refuse) // a device by now
	add("10.0.0.3", "a@x.example", "b@x.example", refuse).Facts.User.Address = address(t, "anna@x.example")
	add("10.0.0.4", "a@x.example", "c@x.example", refuse)
	add("10.0.0.1", "A@x.example", "B@x.example", refuse) // 1 again
	add("10.0.0.4", "a@x.example", "d@x.example", refuse)
	known := func(ip netip.Addr) bool { return ip == netip.MustParseAddr("10.0.0.2") }
	for limit, want := range map[int]string{10: "5x1 6x2 7x1", 2: "6x2 7x1", 0: ""} {
		var words []string
		for _, at := range RefusedUnknown(all, known, limit) {
			words = append(words, fmt.Sprintf("%sx%d", at.Trace, at.Times))
		}
		if got := strings.Join(words, " "); got != want {
			t.Errorf("limit %d: %q, want %q", limit, got, want)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	fsys, _ := disk(b)
	j := Open(fsys)
	r := full(b)
	for b.Loop() {
		j.Add(r)
	}
	j.Close()
}

// Refusals are the refusals among the latest records.
func TestRefusals(t *testing.T) {
	root, _ := disk(t)
	l := Open(root)
	for i, verdict := range []policy.Verdict{policy.Refuse, policy.Accept, policy.Refuse, policy.Accept} {
		r := Record{Trace: fmt.Sprint(i), Verdict: verdict.String(), Time: time.Now()}
		// A client cannot make an accepted record look like a refusal.
		r.Facts.Helo = `"verdict":"refuse"`
		l.Add(r)
	}
	l.Close()
	for limit, want := range map[int]string{10: "0 2", 1: "2"} {
		all, err := Refusals(root, limit)
		if err != nil {
			t.Fatal(err)
		}
		var traces []string
		for _, r := range all {
			traces = append(traces, r.Trace)
		}
		if got := strings.Join(traces, " "); got != want {
			t.Errorf("%d: %s, want %s", limit, got, want)
		}
	}
}

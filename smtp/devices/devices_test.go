package devices

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pillarbox/etc/lab/mailtest"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/policy"
)

func open(t testing.TB) (*Registry, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := durable.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return New(root), dir
}

// device returns a device with this name and these networks.
func device(t testing.TB, name string, networks ...string) policy.Device {
	t.Helper()
	d := policy.Device{Name: name}
	for _, text := range networks {
		p, err := ParseNetwork(text)
		if err != nil {
			t.Fatal(err)
		}
		d.Networks = append(d.Networks, p)
	}
	return d
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (r *Registry) at(ip string) string {
	d, ok := r.Lookup(netip.MustParseAddr(ip))
	if !ok {
		return ""
	}
	return d.Name
}

func TestLookup(t *testing.T) {
	r, _ := open(t)
	if got := r.at("192.168.1.50"); got != "" {
		t.Errorf("%s without a file", got)
	}
	must(t,
		r.Add(device(t, "office", "192.168.1.0/24")),
		r.Add(device(t, "Scanner", "192.168.1.50", "fd00::50")),
		r.Add(device(t, "floor", "192.168.0.0/16", "fd00::/64")),
	)
	for ip, want := range map[string]string{
		"192.168.1.50": "Scanner", "::ffff:192.168.1.50": "Scanner", "fd00::50": "Scanner",
		"192.168.1.51": "office", "192.168.2.1": "floor", "fd00::51": "floor", "fd00::51%eth0": "floor",
		"10.0.0.1": "", "fd01::50": "", "::c0a8:132": "",
	} {
		if got := r.at(ip); got != want {
			t.Errorf("%s is %q, want %q", ip, got, want)
		}
	}
	if _, ok := r.Lookup(netip.Addr{}); ok {
		t.Error("no address is a device")
	}
	// Each session gets its own copy of the device.
	d, _ := r.Lookup(netip.MustParseAddr("192.168.1.50"))
	d.Over = true
	if again, _ := r.Lookup(netip.MustParseAddr("192.168.1.50")); again.Over {
		t.Error("the device is shared")
	}
	all, err := r.List()
	must(t, err)
	if names := slices.Collect(func(yield func(string) bool) {
		for _, d := range all {
			yield(d.Name)
		}
	}); fmt.Sprint(names) != "[Scanner floor office]" {
		t.Errorf("list: %v", names)
	}
	must(t, r.Remove("SCANNER"))
	if got := r.at("192.168.1.50"); got != "office" {
		t.Errorf("after the removal %q", got)
	}
	if err := r.Remove("scanner"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := r.Get("scanner"); !errors.Is(err, ErrNotFound) {
		t.Errorf("got after the removal: %v", err)
	}
}

func TestKept(t *testing.T) {
	r, dir := open(t)
	d := device(t, "ups", "10.1.2.3")
	d.Outside, d.PerHour, d.AllowPlaintext, d.Over = true, 20, true, true
	d.As = addr.Address{Local: "ups", Domain: "office.example"}
	must(t, r.Add(d))
	other, err := durable.Open(dir)
	must(t, err)
	defer other.Close()
	got, err := New(other).Get("UPS")
	must(t, err)
	if d.Over = false; fmt.Sprint(got) != fmt.Sprint(d) {
		t.Errorf("kept %+v, want %+v", got, d)
	}
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"192.168.1.50": "192.168.1.50/32", "192.168.1.0/24": "192.168.1.0/24", "10.0.0.0/9": "10.0.0.0/9",
		"::ffff:10.0.0.1": "10.0.0.1/32", "fd00::1": "fd00::1/128", "fd00::/33": "fd00::/33", "127.0.0.1": "127.0.0.1/32",
	} {
		if got, err := ParseNetwork(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "scanner", "192.168.1", "192.168.1.0/33", "192.168.1.50/24", "0.0.0.0/0", "::/0", "0.0.0.0", "::", "10.0.0.0/8", "0.0.0.0/1",
		"127.0.0.0/8", "2000::/3", "fd00::/32", "fe80::1%eth0", "::ffff:10.0.0.0/104", "224.0.0.1", "ff02::1", "1.2.3.4 ", "1.2.3.4\n",
	} {
		if got, err := ParseNetwork(text); !errors.Is(err, ErrNetwork) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func TestAddRefuses(t *testing.T) {
	r, _ := open(t)
	must(t, r.Add(device(t, "Scanner", "192.168.1.50")))
	for _, tt := range []struct {
		device policy.Device
		want   error
	}{
		{device(t, "scanner", "192.168.1.51"), ErrExists},
		{device(t, "other", "192.168.1.51", "192.168.1.50"), ErrExists},
		{device(t, "twice", "192.168.1.51", "192.168.1.51"), ErrExists},
		{device(t, "none"), ErrNetwork},
		{policy.Device{Name: "zero", Networks: make([]netip.Prefix, 1)}, ErrNetwork},
		{policy.Device{Name: "all", Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
			ErrNetwork},
		{device(t, "", "10.0.0.1"), ErrName},
		{device(t, "-rf", "10.0.0.1"), ErrName},
		{device(t, ".x", "10.0.0.1"), ErrName},
		{device(t, "a b", "10.0.0.1"), ErrName},
		{device(t, "a\nb", "10.0.0.1"), ErrName},
		{device(t, "drücker", "10.0.0.1"), ErrName},
		{device(t, strings.Repeat("x", MaxName+1), "10.0.0.1"), ErrName},
	} {
		if err := r.Add(tt.device); !errors.Is(err, tt.want) {
			t.Errorf("%q %v: %v, want %v", tt.device.Name, tt.device.Networks, err, tt.want)
		}
	}
	few := device(t, "few", "10.0.0.1")
	few.PerHour = -1
	if r.Add(few) == nil {
		t.Error("a negative number an hour")
	}
	if all, err := r.List(); err != nil || len(all) != 1 {
		t.Errorf("after refusals: %v, %v", all, err)
	}
}

// Changes on disk take effect at once. A damaged file admits no device and is not overwritten.
func TestFreshness(t *testing.T) {
	r, dir := open(t)
	file := filepath.Join(dir, "devices.json")
	good := `{"devices": [{"name": "ups", "networks": ["10.0.0.1/32"]}]}`
	for i, step := range []struct {
		text string
		want string
		err  error
	}{
		{good, "ups", nil},
		{strings.Replace(good, "ups", "scanner", 1), "scanner", nil},
		{strings.Replace(good, "networks", "network", 1), "", ErrDamaged},
		{strings.Replace(good, "10.0.0.1/32", "10.0.0.0/4", 1), "", ErrDamaged},
		{strings.Replace(good, "[{", "[{\"over\": true}, {", 1), "", ErrDamaged},
		{good[:30], "", ErrDamaged},
		{good, "ups", nil},
	} {
		must(t, os.WriteFile(file, []byte(step.text), 0o600))
		_, err := r.List()
		if got := r.at("10.0.0.1"); got != step.want || !errors.Is(err, step.err) {
			t.Errorf("step %d: %q, %v", i, got, err)
		}
		if step.err == nil {
			continue
		}
		if err := r.Add(device(t, "other", "10.0.0.2")); !errors.Is(err, ErrDamaged) {
			t.Errorf("step %d: added to a damaged file: %v", i, err)
		}
		if data, err := os.ReadFile(file); err != nil || string(data) != step.text {
			t.Errorf("step %d: the file was changed", i)
		}
	}
	must(t, os.Remove(file))
	if got := r.at("10.0.0.1"); got != "" {
		t.Errorf("%q after the file has gone", got)
	}
}

// A failing disk loses no device.
func TestDiskFails(t *testing.T) {
	_, dir := open(t)
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	disk := mailtest.NewFailFS(root)
	r := New(disk)
	must(t, r.Add(device(t, "ups", "10.0.0.1")))
	broken := errors.New("disk broken")
	for n := 1; ; n++ {
		disk.Start(mailtest.Nth(n, broken))
		err := r.Add(device(t, "scanner", "10.0.0.2"))
		disk.Start(nil)
		all, listErr := r.List()
		if must(t, listErr); len(all) == 0 || all[len(all)-1].Name != "ups" {
			t.Fatalf("operation %d failed: left are %v", n, all)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, broken) {
			t.Fatalf("operation %d failed: %v", n, err)
		}
		if len(all) > 1 { // the last step failed, the sync of the directory
			must(t, r.Remove("scanner"))
		}
	}
}

func TestConcurrent(t *testing.T) {
	r, dir := open(t)
	root, err := durable.Open(dir)
	must(t, err)
	defer root.Close()
	var wg sync.WaitGroup
	for i, reg := range []*Registry{r, New(root), r} {
		wg.Go(func() {
			for n := range 5 {
				ip := fmt.Sprintf("10.0.%d.%d", i, n)
				if err := reg.Add(device(t, "d"+ip, ip)); err != nil {
					t.Error(err)
				}
				if got := r.at(ip); got != "d"+ip {
					t.Errorf("%s is %q", ip, got)
				}
			}
		})
	}
	wg.Wait()
	if all, err := r.List(); err != nil || len(all) != 15 {
		t.Errorf("%d devices, %v", len(all), err)
	}
}

func TestName(t *testing.T) {
	for text, want := range map[string]string{
		"scanner": "scanner", "Kopierer OG": "Kopierer-OG", "-x.": "x", "": "", "[10.0.0.1]": "10.0.0.1",
		"drücker": "dr-cker", strings.Repeat("x", 70): strings.Repeat("x", MaxName),
	} {
		if got := Name(text); got != want || got != "" && checkName(got) != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

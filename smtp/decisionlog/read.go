package decisionlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"

	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/durable"
	"pillarbox/smtp/policy"
)

// Recent returns the latest records, at most limit, the newest last. It skips lines that are not
// valid records, such as a line that a crash has cut short. A server may write at the same time.
func Recent(fsys durable.FS, limit int) ([]Record, error) {
	return selected(fsys, limit, func([]byte) bool { return true })
}

// Refusals returns the latest refusals, at most limit, the newest last. It parses no other record: most
// are of accepted mail.
func Refusals(fsys durable.FS, limit int) ([]Record, error) {
	mark := fmt.Appendf(nil, `"verdict":%q`, policy.Refuse.String())
	records, err := selected(fsys, limit, func(line []byte) bool { return bytes.Contains(line, mark) })
	return slices.DeleteFunc(records, func(r Record) bool { return !r.Refused() }), err
}

// selected is Recent for the lines that a function selects.
func selected(fsys durable.FS, limit int, selects func(line []byte) bool) ([]Record, error) {
	// The current file is opened first. If it is renamed to the older name before that name is
	// opened, it is opened twice, which same detects. In the other order it could be missed.
	files, err := openAll(fsys, current, older)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	if len(files) == 2 && same(files[0], files[1]) {
		files = files[:1]
	}
	var newest []Record
	for _, f := range files {
		data, err := io.ReadAll(f)
		if err != nil {
			return nil, err
		}
		newest = appendBackwards(newest, data, limit, selects)
	}
	slices.Reverse(newest)
	return newest, nil
}

// openAll opens the files that exist. The caller must close them, after an error too.
func openAll(fsys durable.FS, names ...string) (files []durable.File, err error) {
	for _, name := range names {
		f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

func same(a, b durable.File) bool {
	ai, err := a.Stat()
	if err != nil {
		return false
	}
	bi, err := b.Stat()
	return err == nil && os.SameFile(ai, bi)
}

// appendBackwards adds the records of a file, from its end to its beginning, until all holds limit
// records.
func appendBackwards(
	all []Record, data []byte, limit int, selects func(line []byte) bool,
) []Record {
	for len(data) > 0 && len(all) < limit {
		line := data
		if i := bytes.LastIndexByte(data[:len(data)-1], '\n'); i >= 0 {
			line = data[i+1:]
		}
		data = data[:len(data)-len(line)]
		var r Record
		if selects(line) && json.Unmarshal(line, &r) == nil && !r.Time.IsZero() {
			all = append(all, r)
		}
	}
	return all
}

// Attempt is the latest of several equal refusals of a machine.
type Attempt struct {
	Record
	Times int `json:"times"` // refusals with the same client, sender, recipient and stage
}

// RefusedUnknown returns the latest refused attempts of unknown machines, at most limit, the newest
// last. Refusals whose cause is not the rules do not count. A machine is unknown if it has not logged in and known returns false for its address.
func RefusedUnknown(records []Record, known func(netip.Addr) bool, limit int) []Attempt {
	type key struct {
		remote   netip.Addr
		from, to addr.Address
		stage    string
	}
	at := make(map[key]int)
	var newest []Attempt
	for _, r := range slices.Backward(records) {
		if !r.Refused() || r.Cause != "" || !r.Facts.User.IsZero() || known(r.Facts.Remote) {
			continue
		}
		k := key{r.Facts.Remote, r.Facts.From.Fold(), r.Facts.To.Fold(), r.Stage}
		if i, ok := at[k]; ok {
			newest[i].Times++
		} else if len(newest) < limit {
			at[k] = len(newest)
			newest = append(newest, Attempt{r, 1})
		}
	}
	slices.Reverse(newest)
	return newest
}

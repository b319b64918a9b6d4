package queue

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pillarbox/smtp"
)

// withMembers adds unknown members at every level of a state.
func withMembers(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	s := string(text)
	for place, with := range map[string]string{
		`{"version":1`: `{"later":[1,2],"version":1`,
		`"source":{}`:  `"source":{"later":"a"}`,
		`{"address":`:  `{"later":{"x":"y"},"address":`,
	} {
		if !strings.Contains(s, place) {
			t.Fatalf("%s is not in %s", place, s)
		}
		s = strings.ReplaceAll(s, place, with)
	}
	must(t, os.WriteFile(path, []byte(s), 0o600))
}

// TestUnknownMembers: members that a newer release wrote survive an attempt, at their place, and
// hinder no operation.
func TestUnknownMembers(t *testing.T) {
	bubble(t, func(w *world) {
		w.set(all(later))
		id := w.send("anna@office.example", "a@one.example", "b@one.example", "c@two.example")
		synctest.Wait()
		time.Sleep(10 * time.Second)
		w.stop()
		path := filepath.Join(w.dir, "queue", id+".env")
		withMembers(t, path)
		w.open()
		w.set(func(a smtp.Attempt) smtp.Outcome {
			if a.Domain == "two.example" {
				return a.SameForAll(delivered)
			}
			return a.SameForAll(later)
		})
		time.Sleep(2 * time.Hour)
		w.stop()
		text, err := os.ReadFile(path)
		must(t, err)
		var got struct {
			Later  []int
			Source map[string]any
			To     []map[string]any
		}
		must(t, json.Unmarshal(text, &got))
		if len(got.Later) != 2 || got.Source["later"] != "a" || len(got.To) != 3 {
			t.Fatalf("%s", text)
		}
		for _, r := range got.To {
			if later, _ := r["later"].(map[string]any); !maps.Equal(later, map[string]any{"x": "y"}) {
				t.Errorf("%v", r)
			}
		}
		if it, err := Decode(id, text); err != nil || it.To[0].Attempts < 3 || it.To[2].Done != doneDelivered {
			t.Errorf("%s: %v", text, err)
		}
		w.open()
		w.set(nil)
		time.Sleep(6 * time.Hour)
		w.wantLen(0)
	})
}

// TestNewerState: a message whose state has a newer version stays unchanged, is not sent and is
// listed. It is sent once its state can be read.
func TestNewerState(t *testing.T) {
	bubble(t, func(w *world) {
		w.table.Default.Schedule.Expire = 60 * 24 * time.Hour
		w.set(all(later))
		id := w.send("anna@office.example", "a@one.example")
		synctest.Wait()
		w.stop()
		path := filepath.Join(w.dir, "queue", id+".env")
		old, err := os.ReadFile(path)
		must(t, err)
		const newer = `{"version":2,"arrived":17,"recipients":{"a@one.example":[]}}`
		must(t, os.WriteFile(path, []byte(newer), 0o600))
		w.open()
		w.clear()
		w.set(nil)
		time.Sleep(30 * 24 * time.Hour)
		w.wantLen(1)
		if got, err := os.ReadFile(path); err != nil || string(got) != newer || len(w.attempts()) > 0 || len(w.told()) > 0 {
			t.Errorf("%s %v, sent %v, told %v", got, err, w.attempts(), w.told())
		}
		if ids := w.q.Newer(); len(ids) != 1 || ids[0] != id {
			t.Error(ids)
		}
		for _, action := range []Action{Retry, Hold, Bounce, Remove} {
			var e *NewerError
			if n, err := w.q.Do(action, Filter{IDs: []string{id}}); n != 0 || !errors.As(err, &e) {
				t.Errorf("%s: %d, %v", action, n, err)
			}
			if n, err := w.q.Do(action, Filter{From: address("anna@office.example")}); n != 0 || err != nil {
				t.Errorf("%s: %d, %v", action, n, err)
			}
		}
		must(t, os.WriteFile(path, old, 0o600))
		time.Sleep(newerRecheck + time.Minute)
		w.wantLen(0)
		if ids := w.q.Newer(); len(ids) != 0 || len(w.attempts()) != 1 {
			t.Error(ids, w.attempts())
		}
	})
}

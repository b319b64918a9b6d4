package admin

import (
	"io"
	"strings"
	"testing"

	"pillarbox/etc/lab/mailtest"
)

func TestMboxLinear(t *testing.T) {
	shapes := append(mailtest.Messages(), mailtest.Headers("Received")...)
	for _, v := range mailtest.Values() {
		shapes = append(shapes, mailtest.Shape{Name: "From line of " + v.Name, Text: func(size int) string { return "From " + v.Text(size) + "12:00 2024\n" }})
	}
	mailtest.Linear(t, func(text string) {
		if indexed, err := indexMbox(strings.NewReader("From a@b.c Mon Jan  1 12:00:00 2024\r\n" + text)); err != nil || len(indexed) == 0 {
			t.Error(indexed, err)
		}
		indexMbox(strings.NewReader(text))
		parseFromLine(text)
		for _, remove := range []bool{false, true} {
			q := &fromQuoter{w: io.Discard, remove: remove}
			q.Write([]byte(text))
			q.Finish()
		}
	}, shapes...)
}

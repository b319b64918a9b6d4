package dns

import (
	"context"
	"testing"

	"pillarbox/mailstore/caught"
)

// A panic in a lookup becomes its error, for all callers that wait for it.
func TestPanicIsContained(t *testing.T) {
	c := newCache[string, int]()
	for range 2 {
		if _, err := c.get(context.Background(), "x", func() (int, error) { panic("what is this record?") }); !caught.Is(err) {
			t.Error(err)
		}
	}
}

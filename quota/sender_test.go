package quota

import "testing"

// What a sender reads: figures if there is room, but too little; nothing if the mailbox is full.
func TestForSender(t *testing.T) {
	for _, test := range []struct {
		err  Error
		want string
	}{
		{Error{Resource: Bytes, Limit: 100_000, Used: 85_000, Asked: 30_000}, "has room for 15.0 KB, and the message needs 30.0 KB"},
		{Error{Resource: Bytes, Limit: 20_000, Used: 0, Asked: 30_000}, "has room for 20.0 KB, and the message needs 30.0 KB"},
		{Error{Resource: Bytes, Limit: 100_000, Used: 70_001, Asked: 30_001}, "has room for 29999B, and the message needs 30001B"},
		{Error{Resource: Bytes, Limit: 100_000, Used: 100_000, Asked: 1}, ""},
		{Error{Resource: Bytes, Limit: 100_000, Used: 120_000, Asked: 1}, ""},
		{Error{Resource: Messages, Limit: 10, Used: 10, Asked: 1}, ""},
	} {
		if got := test.err.ForSender(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.err, got, test.want)
		}
	}
}

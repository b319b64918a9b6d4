package dsn

import (
	"testing"

	"pillarbox/mailstore/addr"
	"pillarbox/smtp"
)

func TestWanted(t *testing.T) {
	for _, tt := range []struct {
		notify                  []string
		success, failure, delay bool
	}{
		{nil, false, true, true},
		{[]string{"NEVER"}, false, false, false},
		{[]string{"FAILURE"}, false, true, false},
		{[]string{"success", "delay"}, true, false, true},
		{[]string{"SUCCESS", "FAILURE", "DELAY"}, true, true, true},
	} {
		if Wanted(tt.notify, OnSuccess) != tt.success || Wanted(tt.notify, OnFailure) != tt.failure || Wanted(tt.notify, OnDelay) != tt.delay {
			t.Errorf("%v: %v %v %v", tt.notify, Wanted(tt.notify, OnSuccess), Wanted(tt.notify, OnFailure), Wanted(tt.notify, OnDelay))
		}
	}
}

func TestRequired(t *testing.T) {
	anna := addr.Address{Local: "anna", Domain: "office.example"}
	all := []string{"SUCCESS", "FAILURE", "DELAY"}
	for name, tt := range map[string]struct {
		from   addr.Address
		notify []string
		result smtp.Result
		want   Action
	}{
		"failure, nothing said":       {anna, nil, smtp.Result{Status: smtp.Failed}, Failed},
		"failure, wanted":             {anna, []string{"FAILURE"}, smtp.Result{Status: smtp.Failed}, Failed},
		"failure, not wanted":         {anna, []string{"SUCCESS"}, smtp.Result{Status: smtp.Failed}, None},
		"failure, never":              {anna, []string{"NEVER"}, smtp.Result{Status: smtp.Failed}, None},
		"failure that the peer knows": {anna, nil, smtp.Result{Status: smtp.Failed, MTA: "mx", KnowsDSN: true}, Failed},
		"delay, nothing said":         {anna, nil, smtp.Result{}, Delayed},
		"delay, not wanted":           {anna, []string{"FAILURE"}, smtp.Result{}, None},
		"mailbox, nothing said":       {anna, nil, smtp.Result{Status: smtp.Delivered}, None},
		"mailbox, wanted":             {anna, all, smtp.Result{Status: smtp.Delivered}, Delivered},
		"peer reports itself":         {anna, all, smtp.Result{Status: smtp.Delivered, MTA: "mx", KnowsDSN: true}, None},
		"peer does not":               {anna, all, smtp.Result{Status: smtp.Delivered, MTA: "mx"}, Relayed},
		"peer does not, nothing said": {anna, nil, smtp.Result{Status: smtp.Delivered, MTA: "mx"}, None},
		"null, failure":               {addr.Address{}, all, smtp.Result{Status: smtp.Failed}, None},
		"null, delay":                 {addr.Address{}, all, smtp.Result{}, None},
		"null, success":               {addr.Address{}, all, smtp.Result{Status: smtp.Delivered}, None},
	} {
		if got := Required(smtp.Envelope{From: tt.from}, smtp.Recipient{Notify: tt.notify}, tt.result); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

package admin

import (
	"strings"
	"testing"

	"pillarbox/mailstore/directory"
)

// A kind of secret that does not exist is refused before anything changes, whichever verb names it.
func TestUnknownSecretIsRefused(t *testing.T) {
	o := office(t)
	kinds := []directory.SecretKind{directory.SecretSPA, "md4"}
	_, added := MailboxAdd.Do(t.Context(), o, MailboxToAdd{
		User: "new@office.example", NewMailbox: NewMailbox{Password: "b8-long-Enough-1", Store: kinds},
	})
	_, tried := MailboxPasswd.Do(t.Context(), o,
		PasswordToSet{User: "anna@office.example", Store: kinds, Try: true})
	_, set := MailboxPasswd.Do(t.Context(), o,
		PasswordToSet{User: "anna@office.example", Password: "b8-long-Enough-1", Store: kinds})
	for verb, err := range map[string]error{"add": added, "passwd, tried": tried, "passwd": set} {
		if err == nil || !strings.Contains(err.Error(), `"md4" is not a secret that can be stored`) {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if _, err := o.ShowMailbox("new@office.example"); err == nil {
		t.Error("the mailbox was added")
	}
}

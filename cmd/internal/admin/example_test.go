package admin_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
)

// The command line, the control socket and, later, the web page do verbs in this way.
func Example() {
	cfg := config.Default()
	cfg.Data, _ = os.MkdirTemp("", "example")
	defer os.RemoveAll(cfg.Data)
	office, err := admin.Open(&cfg, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer office.Close()

	ctx := context.Background()
	root := office.For(admin.Caller{Actor: admin.Actor{Who: "root", From: "example"}})
	change, err := admin.DomainAdd.Do(ctx, root, "office.example")
	fmt.Println(change.Text, err)

	// An operator of one domain may not make another one. The audit log knows who did what.
	carol := office.For(admin.Caller{
		Actor: admin.Actor{Who: "carol", From: "example"},
		Operator: &admin.Operator{Name: "carol", Grants: []admin.Grant{
			{Name: "unix:carol", Domains: []addr.Domain{"office.example"}},
		}},
	})
	_, err = admin.DomainAdd.Do(ctx, carol, "second.example")
	fmt.Println(errors.Is(err, admin.ErrNotPermitted))
	events, _, err := office.Audit(admin.AuditQuestion{})
	fmt.Println(events[0].Who, events[0].Act, events[0].Object, err)
	// Output:
	// domain office.example added <nil>
	// true
	// root domain add office.example <nil>
}

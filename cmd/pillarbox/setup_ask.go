package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"pillarbox/cmd/internal/admin"
	"pillarbox/cmd/internal/setup"
	"pillarbox/mailstore/addr"
)

// askDomain asks for the domain and its mailboxes, if a person sets up a server and named none.
func (a *app) askDomain(cmd *cobra.Command, domain *string, f *setupFlags) error {
	ask, ok := a.asker()
	if !ok || f.fromStdin {
		return misuse(cmd, "the domain is missing")
	}
	for *domain == "" {
		answer, err := ask("The domain of the mail addresses, such as office.example: ", false)
		if err != nil {
			return err
		}
		answer = strings.TrimSuffix(strings.TrimSpace(answer), ".")
		d, err := addr.ParseDomain(answer)
		if err == nil {
			err = admin.CheckNewDomain(d)
		} else {
			err = fmt.Errorf("%q is not a domain: %s", answer, whyNot(err))
		}
		if err != nil {
			a.complain(err)
			continue
		}
		*domain = answer
	}
	for len(f.mailboxes) == 0 {
		answer, err := ask("The mailboxes, separated by blanks, such as anna boss: [postmaster] ", false)
		if err != nil {
			return err
		}
		names := strings.Fields(strings.ReplaceAll(cmp.Or(strings.TrimSpace(answer), "postmaster"), ",", " "))
		for _, name := range names {
			if _, err = newMailbox(name, addr.Domain(strings.ToLower(*domain))); err != nil {
				a.complain(err)
				break
			}
		}
		if err == nil {
			f.mailboxes = names
		}
	}
	return nil
}

// askRootMail asks who gets root's mail, if a person sets up a new server.
func (a *app) askRootMail(req *setup.Request, f setupFlags) error {
	ask, ok := a.asker()
	if _, err := os.Stat(a.config); !errors.Is(err, fs.ErrNotExist) || !ok || f.rootMail != "" ||
		f.dry || f.fromStdin || len(req.Mailboxes) == 0 {
		return nil
	}
	question := fmt.Sprintf("Who gets the mail for root, such as that of cron? [%s] ", req.Mailboxes[0].Local)
	for {
		answer, err := ask(question, false)
		if answer = strings.TrimSpace(answer); err != nil || answer == "" {
			req.RootMail = addr.Address{}
			return err
		}
		req.RootMail, err = rootMailAddress(answer, req.Domain)
		if err = admin.Hint(err, "answer with the name of a mailbox"); err == nil {
			err = req.CheckRootMail()
		}
		if err == nil {
			return nil
		}
		a.complain(err)
	}
}

// askWeb asks who may reach the page, if a person sets up a new server.
func (a *app) askWeb(req *setup.Request, f setupFlags) error {
	ask, ok := a.asker()
	if _, err := os.Stat(a.config); !errors.Is(err, fs.ErrNotExist) || !ok || f.web != "" || f.dry ||
		f.fromStdin {
		return nil
	}
	for {
		answer, err := ask("The page for browsers: on the LAN (lan), on this machine only (local), or off? [lan] ", false)
		if err != nil {
			return err
		}
		answer = strings.ToLower(strings.TrimSpace(answer))
		if req.Web, err = setup.ParseWeb(cmp.Or(answer, string(setup.WebLAN))); err == nil {
			return nil
		}
		a.complain(admin.Hint(err, "lan is port 443, or 8443 if that is in use; 'listen.web' in the configuration changes it later"))
	}
}

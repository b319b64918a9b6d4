package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"time"

	"pillarbox/cmd/internal/config"
	"pillarbox/mailstore/addr"
	"pillarbox/mailstore/directory"
)

const (
	resetTime = 24 * time.Hour
	resetKey  = 32 // octets
)

// ErrResetLink is the class of errors of a link that is wrong, was used, or has expired. It also stands
// for a mailbox that does not exist, so that a link tells nothing to who makes it up.
var ErrResetLink = errors.New("this link is not valid")

// ResetLink is a link by which its holder sets a new password once.
type ResetLink struct {
	Change
	Mailbox addr.Address `json:"mailbox"`
	Link    string       `json:"link"`
	Expires time.Time    `json:"expires"`
}

// makeResetLink makes a link for a user who has forgotten the password. It replaces an earlier one.
// The password stays valid until the link is used.
func (o *Service) makeResetLink(user string) (out ResetLink, err error) {
	raw := make([]byte, resetKey)
	rand.Read(raw)
	key := base64.RawURLEncoding.EncodeToString(raw)
	expires := time.Now().UTC().Add(resetTime).Truncate(time.Second)
	out.Change, err = o.changeMailbox(user, "has a link to set a new password once", func(a addr.Address) ([]string, error) {
		base, err := pageAddress(o.Config())
		if err != nil {
			return nil, err
		}
		box, err := o.Dir.Mailbox(a)
		if err == nil {
			err = ownPassword(box)
		}
		if err != nil {
			return nil, err
		}
		out.Mailbox, out.Expires = a, expires
		out.Link = base + "/reset/" + url.PathEscape(a.String()) + "/" + key
		return nil, o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
			acc.Reset = directory.Reset{Hash: hashKey(key), Expires: expires}
			return nil
		})
	})
	if err != nil {
		return ResetLink{}, err
	}
	return out, nil
}

// pageAddress returns the address of the page, as users reach it.
func pageAddress(cfg *config.Config) (string, error) {
	if len(cfg.Listen.Web) == 0 {
		return "", Hint(errors.New("the page is off, so no link leads to it"),
			"set listen.web in the configuration and restart the server; 'pillarbox admin mailbox passwd' sets a password")
	}
	host := string(cfg.Hostname)
	if _, port, err := net.SplitHostPort(cfg.Listen.Web[0]); err == nil && port != "443" {
		host = net.JoinHostPort(host, port)
	}
	return "https://" + host, nil
}

func hashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// keyOpens reports whether the key of a link sets a new password now.
func keyOpens(r directory.Reset, key string, now time.Time) bool {
	return r.Hash != "" && now.Before(r.Expires) &&
		subtle.ConstantTimeCompare([]byte(r.Hash), []byte(hashKey(key))) == 1
}

// ResetToUse is the input of MailboxReset. Try only checks the link.
type ResetToUse struct {
	User, Key, Password string
	Try                 bool
}

// useResetLink sets a new password by a link. Only the page calls it, for who has the link. The second
// factor stays.
func (o *Service) useResetLink(in ResetToUse) (Change, error) {
	a, err := addr.Parse(in.User)
	if err != nil {
		return Change{}, ErrResetLink
	}
	a = a.Fold()
	box, err := o.Dir.Mailbox(a)
	switch {
	case errors.Is(err, directory.ErrNotFound):
		return Change{}, ErrResetLink
	case err != nil:
		return Change{}, err
	case box.Method != directory.ByFile || !keyOpens(box.Account.Reset, in.Key, time.Now()):
		return Change{}, ErrResetLink
	case in.Try:
		return Change{Text: o.Keeper.Rules().Text()}, nil
	}
	set, err := o.Keeper.New(a, box.Account, in.Password, time.Now())
	if err != nil {
		return Change{}, err
	}
	err = o.Dir.UpdateAccount(a, func(acc *directory.Account) error {
		if !keyOpens(acc.Reset, in.Key, time.Now()) { // used meanwhile
			return ErrResetLink
		}
		return set(acc)
	})
	return changed(err, nil, "mailbox %s has a new password", a)
}

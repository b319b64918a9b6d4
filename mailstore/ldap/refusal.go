package ldap

import (
	"errors"
	"fmt"
	"regexp"

	ldapv3 "github.com/go-ldap/ldap/v3"
)

// Reason is why a directory refused a password.
type Reason string

// The reasons. Only Active Directory gives more than WrongPassword. It gives LockedOut for right
// and wrong passwords, and the other reasons only for the right one.
const (
	WrongPassword   Reason = "wrong password"
	UnknownUser     Reason = "no such user"
	WrongTime       Reason = "not permitted at this hour"
	WrongPlace      Reason = "not permitted from this computer"
	PasswordExpired Reason = "the password has expired"
	MustChange      Reason = "the password must be changed first"
	Disabled        Reason = "the account is disabled"
	AccountExpired  Reason = "the account has expired"
	LockedOut       Reason = "the account is locked out"
	NoPassword      Reason = "the account has no password"
	BadPassword     Reason = "not a password" // empty, or with a NUL; the directory was not asked
	Refused         Reason = "refused"        // another result; see Detail
)

// A Refusal is an ErrInvalid.
type Refusal struct {
	Reason Reason
	Detail string // the directory's own text; may be ""
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return fmt.Sprintf("%v: %s", ErrInvalid, r.Reason)
	}
	return fmt.Sprintf("%v: %s (%s)", ErrInvalid, r.Reason, r.Detail)
}

// Unwrap returns ErrInvalid.
func (r *Refusal) Unwrap() error { return ErrInvalid }

// activeDirectory maps the Windows error codes that Active Directory adds to the text of result 49,
// in hexadecimal.
var activeDirectory = map[string]Reason{
	"525": UnknownUser,
	"52e": WrongPassword,
	"52f": WrongPlace, // an account restriction
	"530": WrongTime,
	"531": WrongPlace,
	"532": PasswordExpired,
	"533": Disabled,
	"701": AccountExpired,
	"773": MustChange,
	"775": LockedOut,
}

var dataCode = regexp.MustCompile(`\bdata ([0-9a-f]{1,8})\b`)

// bindError classifies the error of a bind. Errors of a broken connection stay as they are.
//
// Only an error that says that the password was not checked may be ErrUnavailable: then a user
// whose password was right some hours ago is let in. A server may report a disabled account with
// any result, such as 53.
func bindError(err error) error {
	e, ok := errors.AsType[*ldapv3.Error](err)
	if err == nil || !ok || broken(err) {
		return err
	}
	text := e.Err.Error()
	if m := dataCode.FindStringSubmatch(text); m != nil {
		if reason, known := activeDirectory[m[1]]; known {
			return &Refusal{reason, "data " + m[1]}
		}
	}
	switch e.ResultCode {
	case ldapv3.LDAPResultInvalidCredentials:
		return &Refusal{Reason: WrongPassword}
	case ldapv3.LDAPResultInappropriateAuthentication:
		return &Refusal{Reason: NoPassword}
	case ldapv3.LDAPResultConstraintViolation:
		// 389 Directory Server, after too many wrong passwords
		return &Refusal{LockedOut, excerpt(text)}
	case ldapv3.LDAPResultNoSuchObject, ldapv3.LDAPResultInvalidDNSyntax:
		return &Refusal{Reason: UnknownUser}
	case ldapv3.LDAPResultTimeLimitExceeded, ldapv3.LDAPResultConfidentialityRequired,
		ldapv3.LDAPResultStrongAuthRequired:
		return unavailable(err)
	}
	return &Refusal{Refused, resultText(e)}
}

// unavailable classifies the other results as ErrUnavailable, with a hint where one is known.
func unavailable(err error) error {
	e, ok := errors.AsType[*ldapv3.Error](err)
	if !ok || broken(err) || errors.Is(err, ErrUnavailable) {
		return err
	}
	hint := ""
	switch e.ResultCode {
	case ldapv3.LDAPResultConfidentialityRequired, ldapv3.LDAPResultStrongAuthRequired:
		hint = ": it requires encryption; use ldaps:// or StartTLS"
	case ldapv3.LDAPResultOperationsError, ldapv3.LDAPResultInsufficientAccessRights:
		hint = ": the search account lacks the right, or none is configured"
	case ldapv3.LDAPResultReferral:
		return referral{fmt.Errorf("%w: %s: it refers to another server; referrals are not followed", ErrUnavailable, resultText(e))}
	case ldapv3.LDAPResultNoSuchObject:
		hint = ": the base does not exist, or the search account may not read it"
	case ldapv3.LDAPResultSizeLimitExceeded, ldapv3.LDAPResultAdminLimitExceeded:
		hint = ": it limits the number of entries"
	}
	return fmt.Errorf("%w: %s%s", ErrUnavailable, resultText(e), hint)
}

// referral is an ErrUnavailable. For a search it may be temporary, for example while a server is
// being replaced.
type referral struct{ error }

func (r referral) Unwrap() error { return r.error }

func isReferral(err error) bool {
	_, ok := errors.AsType[referral](err)
	return ok
}

// resultText formats a result for the log.
func resultText(e *ldapv3.Error) string {
	return fmt.Sprintf("result %d, %s (%s)", e.ResultCode, ldapv3.LDAPResultCodeMap[e.ResultCode],
		excerpt(e.Err.Error()))
}

// broken reports whether an error means that the connection or the server cannot be used any more.
func broken(err error) bool {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrInvalid) ||
		errors.Is(err, ErrUnavailable) ||
		errors.Is(err, ErrUnusable) {
		return false
	}
	e, ok := errors.AsType[*ldapv3.Error](err)
	return !ok || e.ResultCode >= ldapv3.ErrorNetwork || e.ResultCode == ldapv3.LDAPResultBusy ||
		e.ResultCode == ldapv3.LDAPResultUnavailable
}

// excerpt shortens and quotes a text from the server for the log.
func excerpt(text string) string {
	const maxText = 200
	if len(text) > maxText {
		text = text[:maxText] + "…"
	}
	return fmt.Sprintf("%q", text)
}

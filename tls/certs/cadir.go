package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"pillarbox/mailstore/durable"
)

// lockTimeout is how long to wait for another process that uses the directory.
const lockTimeout = 30 * time.Second

// Made says what Ensure has written.
type Made struct {
	CA     bool // the CA's certificate
	Server bool // certificates or keys of the server
}

// Ensure makes the own CA and the server's certificates in dir if they are missing. They are valid
// for the names and addresses given, and for those of loopback. It issues the server's certificates
// again if one of these is not in them, if they expire within 30 days, or if they do not match
// their keys or the CA. Names and addresses that were in them stay. The CA and the keys are never
// replaced.
//
// A file with the wrong content is an ErrBadFile and is left alone. The CA's key may have been
// moved away for safety. Then nothing can be issued, which is an ErrNoCAKey only if a certificate
// must be issued.
//
// A new CA is named after the first name.
func Ensure(dir string, names []string, ips []netip.Addr, now time.Time) (made Made, err error) {
	wanted, err := newHosts(names, ips)
	if err != nil {
		return Made{}, err
	}
	o, err := openCADir(dir)
	if err != nil {
		return Made{}, err
	}
	defer o.close()
	if err := o.ensureCA(wanted.names[0], now); err != nil {
		return o.made, err
	}
	if err := o.ensureKeys(); err != nil {
		return o.made, err
	}
	before := o.hosts()
	if o.upToDate(now) && before.covers(wanted) {
		return o.made, nil
	}
	wanted, err = newHosts(append(names, before.names...), append(ips, before.ips...))
	if err != nil {
		return o.made, err
	}
	return o.made, o.issue(wanted, now)
}

// Missing returns what Ensure would write, and writes nothing.
func Missing(dir string, names []string, ips []netip.Addr, now time.Time) (Made, error) {
	wanted, err := newHosts(names, ips)
	if err != nil {
		return Made{}, err
	}
	fsys, err := durable.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Made{CA: true, Server: true}, nil
	} else if err != nil {
		return Made{}, err
	}
	defer fsys.Close()
	o := &caDir{fsys: fsys}
	switch err := o.read(); {
	case err != nil:
		return Made{}, err
	case o.ca.cert == nil:
		return Made{CA: true, Server: true}, nil
	}
	return Made{Server: o.rsa.key == nil || !o.upToDate(now) || !o.hosts().covers(wanted)}, nil
}

// caDir is the directory of the own CA, locked against other processes. Missing files are nil.
type caDir struct {
	fsys   *durable.Root
	unlock func()
	ca     pair
	rsa    pair // the server's, which every client can use
	ecdsa  pair // the server's, for clients that can use it
	made   Made
}

// openCADir opens and reads the directory. It makes it if it is missing.
func openCADir(dir string) (*caDir, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	fsys, err := durable.Open(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeout)
	defer cancel()
	unlock, err := durable.Lock(ctx, fsys, lockFile)
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	o := &caDir{fsys: fsys, unlock: unlock}
	if err := o.read(); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// makeDir makes dir by way of its parent, so that it gets the parent's owner.
func makeDir(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	parent, err := durable.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.MkdirAll(filepath.Base(dir), 0o700)
}

func (o *caDir) close() {
	o.unlock()
	o.fsys.Close()
}

// read reads the files that exist; the others stay nil.
func (o *caDir) read() error {
	return errors.Join(
		readInto(o, caFile, &o.ca.cert, firstCert),
		readInto(o, caKeyFile, &o.ca.key, decodeKey),
		readInto(o, serverFile, &o.rsa.cert, firstCert),
		readInto(o, serverKeyFile, &o.rsa.key, decodeKey),
		readInto(o, ecdsaFile, &o.ecdsa.cert, firstCert),
		readInto(o, ecdsaKeyFile, &o.ecdsa.key, decodeKey),
	)
}

func readInto[T any](o *caDir, name string, to *T, decode func([]byte) (T, error)) error {
	text, err := durable.ReadSmall(o.fsys, name, durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if *to, err = decode(text); err != nil {
		return badFile(filepath.Join(o.fsys.Name(), name), err.Error(),
			"restore it from a backup, or move it away to have a new one made")
	}
	return nil
}

func firstCert(text []byte) (*x509.Certificate, error) {
	certs, err := decodeCerts(text)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

func badFile(file, why, hint string) error {
	return fmt.Errorf("%w %s: %s; %s", ErrBadFile, file, why, hint)
}

func (o *caDir) write(name string, text []byte, perm fs.FileMode) error {
	switch name {
	case caFile:
		o.made.CA = true
	case caKeyFile: // its certificate follows
	default:
		o.made.Server = true
	}
	return durable.WriteFile(o.fsys, name, text, perm)
}

func (o *caDir) writeNewKey(
	name string, newKey func() (crypto.Signer, error),
) (crypto.Signer, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, o.write(name, text, 0o600)
}

// ensureCA makes first the CA's key and then its certificate. After a crash between the two, the
// next run uses the key that is there.
func (o *caDir) ensureCA(server string, now time.Time) (err error) {
	if o.ca.cert != nil {
		if o.ca.key != nil && !o.ca.matches() {
			return badFile(filepath.Join(o.fsys.Name(), caKeyFile),
				"it is not the key of "+caFile, "restore both from one backup")
		}
		return nil
	}
	if o.ca.key == nil {
		if o.ca.key, err = o.writeNewKey(caKeyFile, newRSAKey); err != nil {
			return err
		}
	}
	if o.ca.cert, err = issueCA(o.ca.key, server, now); err != nil {
		return err
	}
	return o.write(caFile, encodeCerts(o.ca.cert), 0o644)
}

// ensureKeys makes the server's missing keys.
func (o *caDir) ensureKeys() (err error) {
	if o.rsa.key == nil {
		if o.rsa.key, err = o.writeNewKey(serverKeyFile, newRSAKey); err != nil {
			return err
		}
	}
	// Without the CA's key no certificate could be issued for the new key.
	if o.ecdsa.key == nil && o.ca.key != nil {
		o.ecdsa.key, err = o.writeNewKey(ecdsaKeyFile, newECDSAKey)
	}
	return err
}

// hosts returns the hosts that the server's certificates are valid for.
func (o *caDir) hosts() (h hosts) {
	for _, p := range []pair{o.rsa, o.ecdsa} {
		if p.cert != nil {
			h.add(hostsOf(p.cert))
		}
	}
	return h
}

// upToDate reports whether the server's certificates need no renewal. A certificate that expires
// together with the CA cannot be extended, so it counts as good. A directory without the CA's key
// may lack the second certificate.
func (o *caDir) upToDate(now time.Time) bool {
	return o.good(o.rsa, now) &&
		(o.good(o.ecdsa, now) && o.sameHosts() || o.ecdsa.cert == nil && o.ca.key == nil)
}

func (o *caDir) sameHosts() bool {
	a, b := hostsOf(o.rsa.cert), hostsOf(o.ecdsa.cert)
	return a.covers(b) && b.covers(a)
}

func (o *caDir) good(p pair, now time.Time) bool {
	c := p.cert
	return c != nil && p.key != nil && p.matches() &&
		bytes.Equal(c.RawIssuer, o.ca.cert.RawSubject) && c.CheckSignatureFrom(o.ca.cert) == nil &&
		!now.Before(c.NotBefore) && !renewalDue(c.NotAfter, o.ca.cert.NotAfter, now)
}

func renewalDue(end, caEnd, now time.Time) bool {
	return end.Sub(now) < renewBefore && end.Before(caEnd)
}

// issue replaces the server's certificates. Each is one file, and its key stays, so at no moment is
// there a certificate without its key.
func (o *caDir) issue(h hosts, now time.Time) error {
	if err := o.mayIssue(now); err != nil {
		return err
	}
	for _, one := range []struct {
		*pair
		file string
	}{{&o.rsa, serverFile}, {&o.ecdsa, ecdsaFile}} {
		cert, err := issueServer(o.ca, one.key, h, now)
		if err != nil {
			return err
		}
		one.cert = cert
		if err := o.write(one.file, encodeCerts(cert, o.ca.cert), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (o *caDir) mayIssue(now time.Time) error {
	switch {
	case o.ca.key == nil:
		return fmt.Errorf("%w: put %s back to issue a certificate",
			ErrNoCAKey, filepath.Join(o.fsys.Name(), caKeyFile))
	case now.After(o.ca.cert.NotAfter):
		return fmt.Errorf("%w; move %s and %s away and run \"pillarbox setup\" again, "+
			"then give the new CA to every mail program", ErrCAExpired, caFile, caKeyFile)
	}
	return nil
}

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

// lockTimeout is how long to wait for another process that is issuing.
const lockTimeout = 30 * time.Second

// Ensure makes the own CA and the server's certificates in dir where they are
// missing, for all the names and addresses and the loopback ones. It issues the
// server's certificates anew when one of these is not in them, when they end
// within 30 days, or when they do not fit their keys or the CA; names and
// addresses that were in them stay. The CA and the keys are never replaced. It reports whether
// anything was written.
//
// A file that cannot be read as what it should be is an ErrBadFile and is left
// alone. With the CA's key taken away for safety nothing can be issued, which is
// an ErrNoCAKey only when something has to be.
func Ensure(dir string, names []string, ips []netip.Addr, now time.Time) (created bool, err error) {
	wanted, err := newHosts(names, ips)
	if err != nil {
		return false, err
	}
	o, err := openOwn(dir)
	if err != nil {
		return false, err
	}
	defer o.close()
	if err := o.ensureCA(wanted.names[0], now); err != nil {
		return o.wrote, err
	}
	if err := o.ensureKeys(); err != nil {
		return o.wrote, err
	}
	before := o.hosts()
	if o.goodUntilRenewal(now) && before.covers(wanted) {
		return o.wrote, nil
	}
	if wanted, err = newHosts(append(names, before.names...), append(ips, before.ips...)); err != nil {
		return o.wrote, err
	}
	return o.wrote, o.issue(wanted, now)
}

// own is the directory of the own CA, locked against other processes.
type own struct {
	fsys   *durable.Root
	unlock func()
	ca     pair
	rsa    pair // the server's, for everybody
	ecdsa  pair // the server's, for who can use it
	wrote  bool
}

// openOwn opens and reads the directory, which is made if it is missing.
func openOwn(dir string) (*own, error) {
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
	o := &own{fsys: fsys, unlock: unlock}
	if err := o.read(); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

// makeDir makes dir through its parent, so that it gets the parent's owner.
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

func (o *own) close() {
	o.unlock()
	o.fsys.Close()
}

// read fills in what is there; what is missing stays nil.
func (o *own) read() error {
	return errors.Join(
		readInto(o, caFile, &o.ca.cert, firstCert), readInto(o, caKeyFile, &o.ca.key, decodeKey),
		readInto(o, serverFile, &o.rsa.cert, firstCert), readInto(o, serverKeyFile, &o.rsa.key, decodeKey),
		readInto(o, ecdsaFile, &o.ecdsa.cert, firstCert), readInto(o, ecdsaKeyFile, &o.ecdsa.key, decodeKey),
	)
}

func readInto[T any](o *own, name string, to *T, decode func([]byte) (T, error)) error {
	text, err := durable.ReadSmall(o.fsys, name, durable.MaxSmall)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if *to, err = decode(text); err != nil {
		return badFile(filepath.Join(o.fsys.Name(), name), err.Error(), "restore it from a backup, or move it away to have a new one made")
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

func (o *own) write(name string, text []byte, perm fs.FileMode) error {
	o.wrote = true
	return durable.WriteFile(o.fsys, name, text, perm)
}

func (o *own) writeNewKey(name string, make func() (crypto.Signer, error)) (crypto.Signer, error) {
	key, err := make()
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, o.write(name, text, 0o600)
}

// ensureCA makes the CA's key, then its certificate: a crash between the two
// leaves a key that the next run goes on with.
func (o *own) ensureCA(server string, now time.Time) (err error) {
	if o.ca.cert != nil {
		if o.ca.key != nil && !o.ca.fits() {
			return badFile(filepath.Join(o.fsys.Name(), caKeyFile), "it is not the key of "+caFile, "restore both from one backup")
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

// ensureKeys makes the keys of the server that are missing.
func (o *own) ensureKeys() (err error) {
	if o.rsa.key == nil {
		if o.rsa.key, err = o.writeNewKey(serverKeyFile, newRSAKey); err != nil {
			return err
		}
	}
	// Without the CA's key there would be no certificate for it.
	if o.ecdsa.key == nil && o.ca.key != nil {
		o.ecdsa.key, err = o.writeNewKey(ecdsaKeyFile, newECDSAKey)
	}
	return err
}

// hosts is what the server's certificates are valid for; nothing while there are
// none.
func (o *own) hosts() (h hosts) {
	for _, p := range []pair{o.rsa, o.ecdsa} {
		if p.cert != nil {
			h.add(hostsOf(p.cert))
		}
	}
	return h
}

// goodUntilRenewal reports whether the server's certificates are in order and
// not about to end. One that ends with the CA cannot be made any longer. A
// directory without the CA's key may do without the second.
func (o *own) goodUntilRenewal(now time.Time) bool {
	return o.good(o.rsa, now) && (o.good(o.ecdsa, now) && o.sameHosts() || o.ecdsa.cert == nil && o.ca.key == nil)
}

func (o *own) sameHosts() bool {
	return hostsOf(o.rsa.cert).covers(hostsOf(o.ecdsa.cert)) && hostsOf(o.ecdsa.cert).covers(hostsOf(o.rsa.cert))
}

func (o *own) good(p pair, now time.Time) bool {
	c := p.cert
	return c != nil && p.key != nil && bytes.Equal(c.RawIssuer, o.ca.cert.RawSubject) && c.CheckSignatureFrom(o.ca.cert) == nil &&
		p.fits() && !now.Before(c.NotBefore) && !renewalDue(c.NotAfter, o.ca.cert.NotAfter, now)
}

func renewalDue(end, caEnd, now time.Time) bool {
	return end.Sub(now) < renewBefore && end.Before(caEnd)
}

// issue replaces the server's certificates. Each is one file beside a key that
// stays, so that no moment has a certificate without its key.
func (o *own) issue(h hosts, now time.Time) error {
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

func (o *own) mayIssue(now time.Time) error {
	switch {
	case o.ca.key == nil:
		return fmt.Errorf("%w: put %s back to issue a certificate", ErrNoCAKey, filepath.Join(o.fsys.Name(), caKeyFile))
	case now.After(o.ca.cert.NotAfter):
		return fmt.Errorf("%w; move %s and %s away and run \"pillarbox setup\" again, then give the new CA to every mail program",
			ErrCAExpired, caFile, caKeyFile)
	}
	return nil
}

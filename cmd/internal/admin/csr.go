package admin

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"

	"pillarbox/cmd/internal/config"
	"pillarbox/tls/certs"
)

// CSROrder is a request for a certificate that is to be made.
type CSROrder struct {
	Names []string // host names beside the server's own
	Base  string   // of the files, without an extension; "" means the server's name
	ECDSA bool     // use an ECDSA key, not RSA
}

// CSRMade is a request for a certificate that was made, and where its files are.
type CSRMade struct {
	Names       []string `json:"names"`
	KeyFile     string   `json:"key_file"`
	RequestFile string   `json:"request_file"`
	CertFile    string   `json:"cert_file"` // where the signed certificate is to go
	Request     string   `json:"request"`   // in PEM
	Restart     bool     `json:"restart"`   // the server must be restarted to use the certificate
}

// tlsDir is the directory of certificates in the data directory.
const tlsDir = "tls"

// fileBase matches the base of a file name that is safe in a shell and in the configuration.
var fileBase = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$`)

// makeCSR makes a key and a request for a certificate from an authority. It overwrites no file.
func (o *Service) makeCSR(in CSROrder) (CSRMade, error) {
	cfg := o.Config()
	base := cmp.Or(in.Base, string(cfg.Hostname))
	if !fileBase.MatchString(base) {
		return CSRMade{}, usage(fmt.Errorf("%q is not a name for files: write letters, digits, - and _", base))
	}
	at := func(ext string) string { return filepath.Join(o.Root.Name(), tlsDir, base+ext) }
	made := CSRMade{KeyFile: at(".key"), RequestFile: at(".csr"), CertFile: at(".crt"),
		Restart: len(config.RestartKeys([]string{"tls.cert", "tls.key"})) > 0}
	r, err := certs.NewSigningRequest(append([]string{string(cfg.Hostname)}, in.Names...), in.ECDSA)
	if err != nil {
		return CSRMade{}, Hint(err, "'hostname' in the configuration is the first name; --name adds others")
	}
	made.Names, made.Request = r.Names, string(r.Request)
	if err := o.Root.MkdirAll(tlsDir, 0o700); err != nil {
		return CSRMade{}, err
	}
	key := path.Join(tlsDir, base+".key")
	if err := o.writeNew(key, r.Key); err != nil {
		return CSRMade{}, err
	}
	if err := o.writeNew(path.Join(tlsDir, base+".csr"), r.Request); err != nil {
		return CSRMade{}, errors.Join(err, o.Root.Remove(key))
	}
	o.Record("certificate request", nil, map[string]any{"names": made.Names, "key_file": made.KeyFile})
	return made, o.Root.SyncDir(tlsDir)
}

// writeNew writes a file that only the server's account can read. The file must not exist.
func (o *Service) writeNew(name string, content []byte) error {
	f, err := o.Root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return Hint(fmt.Errorf("%s exists and was not changed", filepath.Join(o.Root.Name(), name)),
			"the certificate may need this key: --file NAME chooses other files, such as --file office-2")
	} else if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, o.Root.Remove(name))
	}
	return nil
}

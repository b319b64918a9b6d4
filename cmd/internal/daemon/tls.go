package daemon

import (
	"context"
	"net/http"

	"pillarbox/tls/acme"
	"pillarbox/tls/certs"
)

// acmeInstalled is called after ACME has stored a new certificate.
func (d *Daemon) acmeInstalled() {
	if err := d.certs.Reload(); err != nil {
		d.log.Error("the certificate from ACME cannot be used", "error", err)
	}
}

// serveTLS puts what is known of clients' TLS, and ACME, on the control socket.
func serveTLS(mux *http.ServeMux, m *certs.Manager, renewer *acme.Renewer) {
	mux.HandleFunc("GET /tls/clients", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, append([]certs.Client{}, m.Clients()...))
	})
	mux.HandleFunc("GET /tls/acme", func(w http.ResponseWriter, _ *http.Request) { answer(w, renewer.Status()) })
	mux.HandleFunc("POST /tls/acme/renew", func(w http.ResponseWriter, r *http.Request) {
		if err := renewer.Renew(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		record(r, "certificate by ACME", map[string]any{"not_after": renewer.Status().NotAfter})
		answer(w, renewer.Status())
	})
}

// AskTLSClients asks the server of a data directory which TLS its clients used
// since its start.
func AskTLSClients(ctx context.Context, data string) (clients []certs.Client, err error) {
	err = ask(ctx, data, http.MethodGet, "/tls/clients", nil, &clients)
	return clients, err
}

// AskACME asks the server of a data directory how its certificate by ACME is.
func AskACME(ctx context.Context, data string) (status acme.Status, err error) {
	err = ask(ctx, data, http.MethodGet, "/tls/acme", nil, &status)
	return status, err
}

// AskACMERenew makes the server of a data directory get a certificate by ACME now.
func AskACMERenew(ctx context.Context, data string) (status acme.Status, err error) {
	err = ask(ctx, data, http.MethodPost, "/tls/acme/renew", nil, &status)
	return status, err
}

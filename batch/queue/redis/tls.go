package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS has the trusted authorities and the client certificate. Its zero value trusts the
// system's authorities. Renewed files are used from the next connection on.
type TLS struct {
	CAFile     string // PEM, instead of the system's authorities
	CertFile   string // PEM, of a client certificate
	KeyFile    string // PEM, its key
	ServerName string // the name in the server's certificate; default: its host
	Insecure   bool   // any certificate is believed
}

func (t *TLS) check() error {
	switch {
	case t == nil:
		return nil
	case (t.CertFile == "") != (t.KeyFile == ""):
		return errors.New("a client certificate needs both its file and that of its key")
	case t.Insecure && t.CAFile != "":
		return errors.New("a file of authorities makes no sense when any certificate is believed")
	}
	return nil
}

// load reads the files. It returns nil for nil.
func (t *TLS) load() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading authorities: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading authorities: no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading client certificate: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

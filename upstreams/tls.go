package upstreams

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// TLSConfig selects the trusted certificates and the client certificate of an https
// upstream. Its zero value trusts the system's authorities. Renewed files apply from
// the next connection on.
type TLSConfig struct {
	// CAFiles are PEM files of certificate authorities, which replace the system's.
	CAFiles []string
	// CertFile and KeyFile are PEM files of a client certificate and its key.
	CertFile, KeyFile string
	// ServerName is the expected name in the server's certificate. Default: the host
	// of the URL.
	ServerName string
	// InsecureSkipVerify disables certificate verification.
	InsecureSkipVerify bool
}

// IsZero reports whether no option is set.
func (c *TLSConfig) IsZero() bool {
	return len(c.CAFiles) == 0 && c.CertFile == "" && c.KeyFile == "" && c.ServerName == "" && !c.InsecureSkipVerify
}

// validate checks the combination of options. It does not read files.
func (c *TLSConfig) validate(at address) error {
	switch {
	case c.IsZero():
		return nil
	case at.base.Scheme != "https":
		return fmt.Errorf("tls options need an https URL, got %s", at.name)
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("tls_client_auth: specify both a certificate file and a key file")
	case c.InsecureSkipVerify && len(c.CAFiles) > 0:
		return errors.New("tls_ca cannot be combined with tls_insecure_skip_verify, which trusts every certificate")
	case slices.Contains(c.CAFiles, ""):
		return errors.New("tls_ca: the file name is empty")
	}
	return nil
}

// key identifies the configuration in comparisons.
func (c *TLSConfig) key() string {
	if c.IsZero() {
		return ""
	}
	return fmt.Sprintf("%q %q %q %q %t", c.CAFiles, c.CertFile, c.KeyFile, c.ServerName, c.InsecureSkipVerify)
}

// load reads the files.
func (c *TLSConfig) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.InsecureSkipVerify}
	for _, name := range c.CAFiles {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("tls_ca: %w", err)
		}
		if cfg.RootCAs == nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls_ca: %s contains no PEM certificate", name)
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			if _, named := errors.AsType[*fs.PathError](err); named {
				return nil, fmt.Errorf("tls_client_auth: %w", err)
			}
			return nil, fmt.Errorf("tls_client_auth: %s and %s: %w", c.CertFile, c.KeyFile, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// tlsDialer makes TLS connections. It reloads the files when they have changed. If
// they cannot be used, such as a certificate without its new key, the previous ones
// remain in use.
type tlsDialer struct {
	cfg     TLSConfig
	dial    dialFunc
	timeout time.Duration // of the handshake

	mu     sync.Mutex
	loaded *tls.Config // guarded by mu
	stamp  string      // guarded by mu; of the files that were loaded
}

// DialContext connects and performs the TLS handshake.
func (d *tlsDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	cfg, err := d.current()
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("connecting: %w", err)
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	raw, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	timed, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if err := conn.HandshakeContext(timed); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), ignoreClosed(raw.Close()))
	}
	return conn, nil
}

// ignoreClosed returns nil if err reports that a connection is already closed.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (d *tlsDialer) current() (*tls.Config, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	stamp := d.cfg.stamp()
	if d.loaded != nil && d.stamp == stamp {
		return d.loaded, nil
	}
	cfg, err := d.cfg.load()
	switch {
	case err == nil:
		d.loaded, d.stamp = cfg, stamp
	case d.loaded == nil:
		return nil, err
	}
	return d.loaded, nil
}

// stamp returns a value that changes when a file changes.
func (c *TLSConfig) stamp() string {
	var all strings.Builder
	for _, name := range slices.Concat(c.CAFiles, []string{c.CertFile, c.KeyFile}) {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&all, "%d %d\n", info.ModTime().UnixNano(), info.Size())
		} else {
			all.WriteString("?\n")
		}
	}
	return all.String()
}

// tlsRemedy returns what to do about a TLS error, "" if that is not known or err is
// not a TLS error.
func tlsRemedy(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "The server's certificate is signed by an authority that is not trusted: set tls_ca of this upstream to the authority's certificate (a PEM file)."
	}
	if wrong, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("The server's certificate is for another name than %q: use a name in it as the URL's host, or set tls_server_name of this upstream.", wrong.Host)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "The server's certificate has expired or is not valid yet: renew it, or check this machine's clock."
		}
		return "The server's certificate cannot be used: " + invalid.Error() + "."
	}
	if told, ok := errors.AsType[*net.OpError](err); ok && told.Op == "remote error" {
		alert := told.Err.Error() // the type is not exported
		switch {
		case slices.Contains(alertsNoCertificate, alert):
			return "The server refuses the connection without a client certificate that it trusts: set tls_client_auth of this upstream to a certificate and its key."
		case slices.Contains(alertsBadCertificate, alert):
			return "The server does not trust the client certificate: check tls_client_auth of this upstream and the authority that the server trusts."
		}
		return ""
	}
	if header, ok := errors.AsType[tls.RecordHeaderError](err); ok && header.Conn != nil {
		return "The server does not speak TLS: the URL should begin with http://."
	}
	return ""
}

// Alerts with which servers reject a client because of its certificate (RFC 8446,
// section 6.2).
var (
	alertsNoCertificate  = alertTexts(40, 42, 116) // handshake_failure, bad_certificate, certificate_required
	alertsBadCertificate = alertTexts(45, 46, 48)  // certificate_expired, certificate_unknown, unknown_ca
)

func alertTexts(codes ...tls.AlertError) []string {
	texts := make([]string, len(codes))
	for i, code := range codes {
		texts[i] = code.Error()
	}
	return texts
}

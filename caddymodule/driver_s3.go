package caddymodule

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/s3"
)

func init() {
	caddy.RegisterModule(new(S3Files))
}

// S3Files stores contents in a bucket of S3 or a compatible service, for any number
// of gateways.
type S3Files struct {
	// URL names the bucket: s3://bucket[/prefix][?endpoint=https://host:port]. See
	// docs/configuration.md for its parameters.
	URL string `json:"url"`
	// AccessKey and SecretKey are the credentials. Default: AWS_ACCESS_KEY_ID and
	// AWS_SECRET_ACCESS_KEY, or else the role of the machine or container.
	// Placeholders are replaced.
	AccessKey string `json:"access_key,omitempty"`
	SecretKey string `json:"secret_key,omitempty"`

	url    string
	config s3.Config
}

// CaddyModule returns the Caddy module information.
func (*S3Files) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tidegate.files.s3", New: func() caddy.Module { return new(S3Files) }}
}

// Provision reads the URL.
func (f *S3Files) Provision(caddy.Context) (err error) {
	secrets := &secrets{replacer: caddy.NewReplacer()}
	if f.url, err = secrets.url("s3", f.URL); err != nil {
		return fmt.Errorf("files s3: %w", err)
	}
	if f.config, err = s3.ParseURL(f.url); err != nil {
		return fmt.Errorf("files s3: %w", err)
	}
	if f.config.AccessKey, err = secrets.one(f.AccessKey); err != nil {
		return fmt.Errorf("files s3: access_key: %w", err)
	}
	if f.config.SecretKey, err = secrets.one(f.SecretKey); err != nil {
		return fmt.Errorf("files s3: secret_key: %w", err)
	}
	if (f.config.AccessKey == "") != (f.config.SecretKey == "") {
		return errors.New("files s3: specify both access_key and secret_key, or neither")
	}
	return nil
}

// readFrom defers reading the URL from a placeholder until the configuration is
// loaded.
func (f *S3Files) readFrom(placeholder string) { f.URL = placeholder }

// Identity implements FilesModule.
func (f *S3Files) Identity(string) string {
	return f.config.Identity() + " " + fingerprint(f.url, f.config.AccessKey, f.config.SecretKey)
}

// Files opens the file store.
func (f *S3Files) Files(_ string, _ bool, _ *zap.Logger) (batch.Files, error) {
	return s3.New(f.config), nil
}

// UnmarshalCaddyfile sets up the module:
//
//	s3 <url> {
//		access_key <key>
//		secret_key <key>
//	}
func (f *S3Files) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if err := urlAndBlock(d, &f.URL, s3.ParseURL, f.options()); err != nil {
		return err
	}
	if (f.AccessKey == "") != (f.SecretKey == "") {
		return d.Err("specify both access_key and secret_key, or neither")
	}
	return nil
}

func (f *S3Files) options() map[string]option {
	return map[string]option{"access_key": text(&f.AccessKey), "secret_key": text(&f.SecretKey)}
}

var (
	_ FilesModule           = (*S3Files)(nil)
	_ caddyfile.Unmarshaler = (*S3Files)(nil)
	_ caddy.Provisioner     = (*S3Files)(nil)
)

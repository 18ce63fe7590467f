package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// roleTimeout limits one request for credentials of a role: outside of a cloud there may
// be no response.
const roleTimeout = 10 * time.Second

// findCredentials returns credentials from the configuration, the environment, or a role,
// in this order. Credentials of a role are renewed before they expire.
func findCredentials(ctx context.Context, cfg Config, transport http.RoundTripper) (*credentials.Credentials, error) {
	if cfg.AccessKey != "" {
		return credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, cfg.SessionToken), nil
	}
	id, secret := os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")
	if (id == "") != (secret == "") {
		return nil, errors.New("looking for credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together")
	}
	if id != "" {
		return credentials.NewStaticV4(id, secret, os.Getenv("AWS_SESSION_TOKEN")), nil
	}
	role := credentials.New(&credentials.IAM{
		Client: &http.Client{Transport: transport, Timeout: roleTimeout},
		Region: cfg.Region,
	})
	if _, err := role.GetWithContext(&credentials.CredContext{Context: ctx}); err != nil {
		return nil, fmt.Errorf("looking for credentials: there are none in the configuration, none in AWS_ACCESS_KEY_ID, and asking for those of a role failed: %w", err)
	}
	return role, nil
}

// secrets returns the values that must never be in an error.
func secrets(cfg Config) []string {
	var found []string
	for _, s := range []string{cfg.SecretKey, cfg.SessionToken, os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN")} {
		if s != "" {
			found = append(found, s)
		}
	}
	return found
}

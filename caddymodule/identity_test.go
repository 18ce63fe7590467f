package caddymodule

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// identified is a driver, provisioned.
type identified interface{ caddy.Provisioner }

// identity provisions a driver and returns its identity.
func identity(t *testing.T, driver identified) string {
	t.Helper()
	if err := driver.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	switch d := driver.(type) {
	case StoreModule:
		return d.Identity("")
	case QueueModule:
		return d.Identity()
	case FilesModule:
		return d.Identity("")
	}
	t.Fatalf("%T is no driver", driver)
	return ""
}

// TestIdentities checks that a reload opens a driver again if any of its settings changed,
// and keeps it otherwise. No identity contains a secret.
func TestIdentities(t *testing.T) {
	const dsn, address, bucket = "postgres://u:hunter1@h/d", "redis://:hunter1@h:1/0", "s3://bucket/p?endpoint=http://h:1"
	for name, tt := range map[string]struct {
		base   func() identified
		others []identified
	}{
		"postgres": {func() identified { return &PostgresStore{URL: dsn} }, []identified{
			&PostgresStore{URL: "postgres://u:hunter2@h/d"},
			&PostgresStore{URL: dsn + "?sslmode=disable"},
			&PostgresStore{URL: dsn, MaxConns: 5},
			&PostgresStore{URL: dsn, ConnectTimeout: 5},
			&PostgresStore{URL: dsn, StatementTimeout: 5},
		}},
		"redis": {func() identified { return &RedisQueue{URL: address} }, []identified{
			&RedisQueue{URL: "redis://:hunter2@h:1/0"},
			&RedisQueue{URL: address, Prefix: "other"},
			&RedisQueue{URL: address, Timeout: 5},
			&RedisQueue{URL: address, Idle: 5},
		}},
		"s3": {func() identified { return &S3Files{URL: bucket, AccessKey: "a", SecretKey: "hunter1"} }, []identified{
			&S3Files{URL: bucket, AccessKey: "a", SecretKey: "hunter2"},
			&S3Files{URL: bucket, AccessKey: "b", SecretKey: "hunter1"},
			&S3Files{URL: bucket + "&timeout=9s", AccessKey: "a", SecretKey: "hunter1"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[string]bool{identity(t, tt.base()): true}
			if !seen[identity(t, tt.base())] {
				t.Error("the same settings have two identities")
			}
			for i, other := range tt.others {
				id := identity(t, other)
				if seen[id] {
					t.Errorf("other settings %d have the same identity", i)
				}
				seen[id] = true
			}
			for id := range seen {
				if strings.Contains(id, "hunter") {
					t.Errorf("identity %q shows a secret", id)
				}
			}
		})
	}
}

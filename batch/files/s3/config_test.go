package s3

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// noEnvironment clears the variables of the machine.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
	} {
		t.Setenv(name, "")
	}
}

func TestParseURL(t *testing.T) {
	noEnvironment(t)
	got, err := ParseURL("s3://contents/team/tidegate/?endpoint=http://minio:9000&region=eu-west-1&path_style=true&sse=aws:kms&kms_key_id=k1" +
		"&ca_file=/etc/ca.pem&part_size=8388608&timeout=30s&attempts=3")
	want := Config{
		Bucket: "contents", Prefix: "team/tidegate", Endpoint: "http://minio:9000", Region: "eu-west-1", PathStyle: true, SSE: SSEKMS,
		KMSKeyID: "k1", CAFile: "/etc/ca.pem", PartSize: 8 << 20, Timeout: 30 * time.Second, Attempts: 3,
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c, err := ParseURL("s3://contents?region=eu-west-1"); err != nil || c.Bucket != "contents" || c.Prefix != "" {
		t.Errorf("got %+v, %v", c, err)
	}
	const hidden = "hidden-secret"
	for raw, said := range map[string]string{
		"http://contents":                                    `scheme is "http"`,
		"contents":                                           "scheme",
		"s3://":                                              "no bucket",
		"s3://key:" + hidden + "@contents":                   "credentials do not belong",
		"s3://key:" + hidden + "@contents\x7f":               "not a URL",
		"s3://contents?secret_key=" + hidden:                 `unknown parameter "secret_key"`,
		"s3://contents?region=a&region=b":                    "region is given 2 times",
		"s3://contents?region=%zz":                           "malformed",
		"s3://contents#x":                                    "fragment",
		"s3://contents":                                      "no region",
		"s3://contents?part_size=5M":                         "part_size",
		"s3://contents?region=a&part_size=1000":              "part size 1000",
		"s3://contents?path_style=perhaps":                   "path_style",
		"s3://contents?region=a&path_style=1&virtual_host=1": "not in both",
		"s3://contents?timeout=30":                           "timeout",
		"s3://contents?region=a&timeout=-1s":                 "negative",
		"s3://contents?region=a&attempts=-1":                 "negative",
		"s3://contents?region=a&sse=rot13":                   `"rot13"`,
		"s3://contents?region=a&kms_key_id=k":                "KMS key",
		"s3://Contents_?region=a":                            `bucket "Contents_"`,
		"s3://contents/a/../b?region=a":                      `".."`,
		"s3://contents/a//b?region=a":                        `""`,
		"s3://contents/ä?region=a":                           `"ä"`,
		"s3://contents?endpoint=ftp://x":                     `"ftp"`,
		"s3://contents?endpoint=https://x/path":              "path",
		"s3://contents?endpoint=https://":                    "no host",
		"s3://contents?endpoint=https://a:" + hidden + "@x":  "credentials",
	} {
		_, err := ParseURL(raw)
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%s: got %v, want %q in it", raw, err, said)
		} else if strings.Contains(err.Error(), hidden) {
			t.Errorf("%s: error contains the secret: %v", raw, err)
		}
	}
}

// TestWhereTheBucketStands checks the position of the bucket in request URLs.
func TestWhereTheBucketStands(t *testing.T) {
	noEnvironment(t)
	for query, want := range map[string]string{
		"region=eu-west-1":                                        "contents.s3.dualstack.eu-west-1.amazonaws.com/team/a",
		"region=eu-west-1&path_style=true":                        "s3.dualstack.eu-west-1.amazonaws.com/contents/team/a",
		"endpoint=https://storage.googleapis.com":                 "contents.storage.googleapis.com/team/a",
		"endpoint=http://minio:9000":                              "minio:9000/contents/team/a",
		"endpoint=https://cos.ap-x.example.com&virtual_host=true": "contents.cos.ap-x.example.com/team/a",
	} {
		cfg, err := ParseURL("s3://contents/team?" + query)
		if err != nil {
			t.Fatal(err)
		}
		cfg.AccessKey, cfg.SecretKey = accessKey, secretKey
		cfg, err = cfg.complete()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := connect(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		u, err := conn.PresignedGetObject(t.Context(), cfg.Bucket, cfg.Prefix+"a", time.Minute, nil)
		if err != nil || u.Host+u.Path != want {
			t.Errorf("%s: %v, want %s, %v", query, u, want, err)
		}
	}
}

func TestRegion(t *testing.T) {
	noEnvironment(t)
	region := func(c Config) string {
		t.Helper()
		c.Bucket = bucket
		c, err := c.complete()
		if err != nil {
			t.Error(err)
		}
		return c.Region
	}
	check := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	check(region(Config{Endpoint: "minio:9000"}), "us-east-1")
	check(region(Config{Endpoint: "s3.eu-central-1.amazonaws.com"}), "eu-central-1")
	t.Setenv("AWS_DEFAULT_REGION", "eu-north-1")
	check(region(Config{}), "eu-north-1")
	t.Setenv("AWS_REGION", "eu-west-3")
	check(region(Config{}), "eu-west-3")
	check(region(Config{Region: "ap-south-1"}), "ap-south-1")
}

func TestIdentity(t *testing.T) {
	a := Config{Endpoint: "minio:9000", Bucket: "b", Prefix: "/a/", AccessKey: accessKey, SecretKey: secretKey, SessionToken: "token"}
	if got := New(a).Identity(); got != "s3 https://minio:9000/b/a" {
		t.Errorf("got %q", got)
	}
	if b := (Config{Endpoint: "https://MINIO:9000/", Bucket: "b", Prefix: "a"}); a.Identity() != b.Identity() {
		t.Errorf("%q and %q are the same place", a.Identity(), b.Identity())
	}
	if b := (Config{Endpoint: "minio:9000", Bucket: "b"}); a.Identity() == b.Identity() {
		t.Errorf("%q are two places", a.Identity())
	}
}

func TestOpenOfWrongBucket(t *testing.T) {
	s := serve(t)
	cfg := s.config()
	cfg.Bucket = "elsewhere"
	err := s.driver(cfg).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), `bucket "elsewhere" does not exist at `+s.url) {
		t.Errorf("got %v", err)
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	s := serve(t)
	s.fail("", 100, refuse(http.StatusForbidden, "AccessDenied"))
	err := s.driver(s.config()).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "denied") || !strings.Contains(err.Error(), "permissions") {
		t.Errorf("got %v", err)
	}
	if n := len(s.requests("ping")); n != 1 {
		t.Errorf("got %d attempts for a permanent error, want 1", n)
	}
}

func credentialOf(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(after, "/")
	return id + " " + r.Header.Get("X-Amz-Security-Token")
}

func TestCredentials(t *testing.T) {
	noEnvironment(t)
	s := serve(t)
	used := func(cfg Config) string {
		t.Helper()
		s.open(cfg)
		pings := s.requests("ping")
		return credentialOf(pings[len(pings)-1])
	}
	cfg := s.config()
	cfg.SessionToken = "configured"
	if got := used(cfg); got != accessKey+" configured" {
		t.Errorf("from the configuration: got %q", got)
	}
	cfg.AccessKey, cfg.SecretKey, cfg.SessionToken = "", "", ""

	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/role" {
			http.Error(w, "no role is attached", http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, `{"AccessKeyId":"ROLE","SecretAccessKey":"role-secret","Token":"role-token","Expiration":"2999-01-01T00:00:00Z"}`)
	}))
	defer role.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL+"/role")
	if got := used(cfg); got != "ROLE role-token" {
		t.Errorf("of a role: got %q", got)
	}
	s.fail("ping", 1, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		answer(w, http.StatusForbidden, "AccessDenied", "not for "+r.Header.Get("X-Amz-Security-Token"))
	})
	if err := s.driver(cfg).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "not for ***") {
		t.Errorf("error contains the token of a role: %v", err)
	}
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", role.URL+"/none")
	err := s.driver(cfg).Open(t.Context())
	if err == nil || !strings.Contains(err.Error(), "none in the configuration, none in AWS_ACCESS_KEY_ID") {
		t.Errorf("without any: got %v", err)
	}

	t.Setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
	if err := s.driver(cfg).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "together") {
		t.Errorf("half of them: got %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "environment-secret")
	t.Setenv("AWS_SESSION_TOKEN", "environment-token")
	if got := used(cfg); got != "ENVIRONMENT environment-token" {
		t.Errorf("from the environment: got %q", got)
	}
	cfg.AccessKey = "half"
	if err := cfg.Validate(); err == nil {
		t.Error("half of the configured was taken")
	}
}

func TestEncryptionIsAskedFor(t *testing.T) {
	const kind, key = "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"
	for _, c := range []struct{ sse, id string }{{"", ""}, {SSES3, ""}, {SSEKMS, ""}, {SSEKMS, "key-1"}} {
		s := serve(t)
		cfg := s.config()
		cfg.SSE, cfg.KMSKeyID = c.sse, c.id
		f := s.open(cfg)
		mustStore(t, f, "small", []byte("x"))
		mustStore(t, f, "big", pattern(MinPartSize+1))
		for _, request := range []string{"ping", "put", "begin"} {
			h := s.requests(request)[0].Header
			if h.Get(kind) != c.sse || h.Get(key) != c.id {
				t.Errorf("%s has %q with key %q, want %q with %q", request, h.Get(kind), h.Get(key), c.sse, c.id)
			}
		}
		for _, request := range []string{"part", "complete", "head"} { // where S3 refuses them
			if h := s.requests(request)[0].Header; h.Get(kind) != "" {
				t.Errorf("%s has %q", request, h.Get(kind))
			}
		}
	}
}

func TestTLS(t *testing.T) {
	s := serve(t)
	secure := httptest.NewTLSServer(s)
	t.Cleanup(secure.Close)
	cfg := s.config()
	cfg.Endpoint = secure.URL
	before := len(s.requests("ping"))
	if err := s.driver(cfg).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("of an unknown authority: got %v", err)
	}
	cfg.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := s.driver(cfg).Open(t.Context()); err == nil {
		t.Error("opened without the file of authorities")
	}
	if err := os.WriteFile(cfg.CAFile, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.driver(cfg).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "no PEM certificate") {
		t.Errorf("with an empty file: got %v", err)
	}
	if n := len(s.requests("ping")) - before; n != 0 {
		t.Errorf("%d requests got through", n)
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(cfg.CAFile, authority, 0o600); err != nil {
		t.Fatal(err)
	}
	f := s.open(cfg)
	content := pattern(2*MinPartSize + 1)
	mustStore(t, f, "a", content)
	holds(t, f, "a", content)

	cfg.Endpoint = "https://" + strings.TrimPrefix(s.url, "http://")
	if err := s.driver(cfg).Open(t.Context()); err == nil {
		t.Error("opened https at a service of http")
	}
	if n := len(s.requests("ping")) - before; n != 1 {
		t.Errorf("%d requests got through", n)
	}
}

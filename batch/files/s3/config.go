package s3

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"
)

const (
	// DefaultEndpoint is Amazon's; the region decides which host is spoken to.
	DefaultEndpoint = "https://s3.amazonaws.com"
	// DefaultPartSize is the size of the parts of uploads, in bytes.
	DefaultPartSize = 16 << 20
	// MinPartSize is the smallest part that services accept, except the last.
	MinPartSize = 5 << 20
	// MaxPartSize is the largest part that services accept.
	MaxPartSize = 5 << 30
	// DefaultTimeout limits the time without progress of a request.
	DefaultTimeout = time.Minute
	// DefaultAttempts is the number of attempts of a request.
	DefaultAttempts = 6
)

// How the service encrypts objects, Config.SSE.
const (
	SSES3  = "AES256"  // with keys of the service
	SSEKMS = "aws:kms" // with a key of a key management service
)

// Config are the settings of Files. A zero field means its default.
type Config struct {
	// Endpoint is the service, "https://host[:port]"; "http://" is without
	// encryption, no scheme means https. Default Amazon S3.
	Endpoint string
	// Bucket must exist.
	Bucket string
	// Prefix precedes every key, separated by a "/": "team/tidegate". Default
	// none.
	Prefix string
	// Region is the bucket's. Default that in the endpoint's name, else
	// AWS_REGION, else AWS_DEFAULT_REGION, else us-east-1 for any service but
	// Amazon's.
	Region string

	// AccessKey and SecretKey, and SessionToken if they are temporary. Default
	// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else those
	// of the machine's, container's or service account's role.
	AccessKey    string
	SecretKey    string
	SessionToken string

	// PathStyle puts the bucket into the path, and VirtualHost into the host's
	// name: "https://bucket.host". Default: into the host's name where that is
	// known to work (Amazon, Google, Alibaba), else into the path.
	PathStyle   bool
	VirtualHost bool
	// SSE is the encryption by the service: SSES3, SSEKMS, or "" for the bucket's own
	// setting.
	SSE string
	// KMSKeyID names the key for SSEKMS. Default the bucket's or account's own.
	KMSKeyID string
	// CAFile is a PEM file of certificate authorities that are trusted in
	// addition to the system's.
	CAFile string

	// PartSize is the size of the parts of uploads, in bytes: 5 MiB to 5 GiB.
	// A writer holds up to two in memory; a content has 10,000 at most.
	// Default 16 MiB.
	PartSize int64
	// Timeout limits the time of a request without progress in either direction.
	// Default 1 minute.
	Timeout time.Duration
	// Attempts is the number of attempts of a request after errors of a busy or
	// failing service or broken connections. Default 6.
	Attempts int
}

// prefixSegment excludes characters with a special meaning in URLs, policies and tools
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
var prefixSegment = regexp.MustCompile(`^[A-Za-z0-9!_.*'()=-]+$`)

// maxPrefix leaves room for the longest key in the 1024 bytes of an object's.
const maxPrefix = 512

// Validate checks the configuration without the service. Its errors contain no
// secrets.
func (c Config) Validate() error {
	_, err := c.complete()
	return err
}

// complete fills in defaults and brings Prefix to the form "" or "a/b/".
func (c Config) complete() (Config, error) {
	endpoint, err := c.endpoint()
	if err != nil {
		return c, err
	}
	if c.Bucket == "" {
		return c, errors.New("no bucket is given")
	}
	if err := s3utils.CheckValidBucketName(c.Bucket); err != nil {
		return c, fmt.Errorf("bucket %q: %w", c.Bucket, err)
	}
	if c.PathStyle && c.VirtualHost {
		return c, errors.New("the bucket can be in the path or in the host's name, not in both")
	}
	if c.Prefix, err = cleanPrefix(c.Prefix); err != nil {
		return c, err
	}
	if (c.AccessKey == "") != (c.SecretKey == "") {
		return c, errors.New("access key and secret key must be given together")
	}
	if c.SessionToken != "" && c.AccessKey == "" {
		return c, errors.New("a session token needs the access key and secret key it belongs to")
	}
	switch {
	case c.SSE != "" && c.SSE != SSES3 && c.SSE != SSEKMS:
		return c, fmt.Errorf("encryption %q is neither %q nor %q", c.SSE, SSES3, SSEKMS)
	case c.KMSKeyID != "" && c.SSE != SSEKMS:
		return c, fmt.Errorf("a KMS key needs encryption %q", SSEKMS)
	}
	if c.PartSize == 0 {
		c.PartSize = DefaultPartSize
	}
	if c.PartSize < MinPartSize || c.PartSize > MaxPartSize {
		return c, fmt.Errorf("part size %d is not between %d and %d bytes", c.PartSize, int64(MinPartSize), int64(MaxPartSize))
	}
	if c.Timeout < 0 || c.Attempts < 0 {
		return c, errors.New("timeout and attempts must not be negative")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Attempts == 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Region == "" {
		c.Region = regionOf(endpoint)
	}
	if c.Region == "" {
		return c, errors.New("no region: set it in the configuration or in AWS_REGION, Amazon S3 needs one")
	}
	c.Endpoint = endpoint.Scheme + "://" + endpoint.Host
	return c, nil
}

func (c Config) endpoint() (*url.URL, error) {
	raw := c.Endpoint
	if raw == "" {
		raw = DefaultEndpoint
	}
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil: // names the whole URL, which may hold a password
		return nil, errors.New("endpoint is not a URL")
	case u.User != nil:
		return nil, errors.New("endpoint must not contain credentials")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("endpoint has scheme %q instead of https or http", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("endpoint names no host")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, fmt.Errorf("endpoint %s://%s must not have a path or query", u.Scheme, u.Host)
	}
	return u, nil
}

func cleanPrefix(prefix string) (string, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return "", nil
	}
	if len(prefix) > maxPrefix {
		return "", fmt.Errorf("prefix is longer than %d bytes", maxPrefix)
	}
	for segment := range strings.SplitSeq(prefix, "/") {
		if segment == "." || segment == ".." || !prefixSegment.MatchString(segment) {
			return "", fmt.Errorf("prefix %q: %q is not made of letters, digits and !_.*'()=-", prefix, segment)
		}
	}
	return prefix + "/", nil
}

// regionOf returns the region in the host name of an endpoint, or "" if Amazon needs a
// configured one.
func regionOf(endpoint *url.URL) string {
	for _, region := range []string{s3utils.GetRegionFromURL(*endpoint), os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION")} {
		if region != "" {
			return region
		}
	}
	if s3utils.IsAmazonEndpoint(*endpoint) {
		return ""
	}
	return "us-east-1"
}

// Identity identifies the location of contents: it is equal for two configurations with
// the same location. It contains no secrets.
func (c Config) Identity() string {
	endpoint, err := c.endpoint()
	if err != nil {
		return "s3 invalid"
	}
	return "s3 " + endpoint.Scheme + "://" + strings.ToLower(endpoint.Host) + "/" + c.Bucket + "/" + strings.Trim(c.Prefix, "/")
}

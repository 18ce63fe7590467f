package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Secret signs webhooks. It prints as "[secret]".
type Secret struct{ key []byte }

// String keeps the key out of logs.
func (Secret) String() string { return "[secret]" }

// GoString keeps the key out of logs.
func (Secret) GoString() string { return "[secret]" }

// The sizes of a key in bytes, from Standard Webhooks.
const (
	minKey = 24
	maxKey = 64
)

var errSecret = errors.New("a secret must be whsec_ and the base64 of 24 to 64 random bytes, as printed by: echo whsec_$(head -c 32 /dev/urandom | base64)")

// ParseSecret reads a secret: "whsec_" and base64. The error does not contain it.
func ParseSecret(text string) (Secret, error) {
	encoded, ok := strings.CutPrefix(text, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) < minKey || len(key) > maxKey {
		return Secret{}, errSecret
	}
	return Secret{key}, nil
}

// sign sets the headers of Standard Webhooks: a signature for each secret. now is the time
// of the attempt, which receivers compare with their clock.
func sign(h http.Header, id string, now time.Time, body []byte, secrets []Secret) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]string, len(secrets))
	for i, s := range secrets {
		mac := hmac.New(sha256.New, s.key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", timestamp)
	h.Set("Webhook-Signature", strings.Join(signatures, " "))
}

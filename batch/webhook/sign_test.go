package webhook

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSignature checks a signature of the reference implementation
// (https://github.com/standard-webhooks/standard-webhooks, its test vectors).
func TestSignature(t *testing.T) {
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	other, err := ParseSecret("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	h := make(http.Header)
	sign(h, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`), []Secret{secret, other})
	signatures := strings.Fields(h.Get("Webhook-Signature"))
	const want = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	if len(signatures) != 2 || signatures[0] != want || signatures[1] == want || h.Get("Webhook-Timestamp") != "1614265330" {
		t.Errorf("headers are %v, want the signature %s and another", h, want)
	}
}

func TestParseSecret(t *testing.T) {
	for _, bad := range []string{"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_short", "whsec_!!!!", "whsec_" + strings.Repeat("A", 400)} {
		if _, err := ParseSecret(bad); err == nil {
			t.Errorf("ParseSecret(%q): got no error, want one", bad)
		} else if bad != "" && bad != "whsec_" && strings.Contains(err.Error(), bad) {
			t.Errorf("error %q contains the secret", err)
		}
	}
	s, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, Endpoint{Secrets: []Secret{s}}); !strings.Contains(text, "[secret]") {
			t.Errorf("%s prints %s, want [secret]", format, text)
		}
	}
}

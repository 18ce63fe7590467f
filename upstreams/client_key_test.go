package upstreams

import (
	"net/http/httptest"
	"testing"
)

// One key is one client, with any user name if it is a password.
func TestClientKey(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		user   string
		pass   string
		want   string
	}{
		{"none", nil, "", "", ""},
		{"bearer token", []string{"Authorization", "Bearer k"}, "", "", "Bearer k"},
		{"X-Api-Key", []string{"X-Api-Key", "k"}, "", "", "k"},
		{"Api-Key", []string{"Api-Key", "k"}, "", "", "k"},
		{"password", nil, "a", "k", "k"},
		{"password with another name", nil, "b", "k", "k"},
	} {
		r := httptest.NewRequest("POST", "/v1/chat/completions", nil)
		if tt.header != nil {
			r.Header.Set(tt.header[0], tt.header[1])
		}
		if tt.pass != "" {
			r.SetBasicAuth(tt.user, tt.pass)
		}
		if got := clientKey(r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

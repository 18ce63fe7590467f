package access

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func TestGenerate(t *testing.T) {
	seen := make(map[string]bool)
	for range 100 {
		secret := Generate()
		rest, ok := strings.CutPrefix(secret, Prefix)
		random, err := base64.RawURLEncoding.DecodeString(rest)
		if !ok || err != nil || len(random)*8 != 256 {
			t.Fatalf("got %q, want %s and 256 bits (%v)", secret, Prefix, err)
		}
		if seen[secret] {
			t.Fatalf("got %q twice", secret)
		}
		seen[secret] = true
	}
}

func TestCheckKey(t *testing.T) {
	good := Key{Name: "Team A, nightly", Tenant: "team-a", Scopes: []Scope{Live}, Models: []string{"m"}}
	if err := good.Check(); err != nil {
		t.Fatalf("got %v, want no error", err)
	}
	for name, change := range map[string]func(*Key){
		"no name":                func(k *Key) { k.Name = "" },
		"a long name":            func(k *Key) { k.Name = strings.Repeat("x", 65) },
		"an escape in a name":    func(k *Key) { k.Name = "a\x1b[2J" },
		"a line in a name":       func(k *Key) { k.Name = "a\nb" },
		"a direction in a name":  func(k *Key) { k.Name = "a\u202eb" },
		"invalid UTF-8":          func(k *Key) { k.Name = "a\xff" },
		"spaces around a name":   func(k *Key) { k.Name = " a" },
		"no tenant":              func(k *Key) { k.Tenant = "" },
		"a control in a tenant":  func(k *Key) { k.Tenant = "\x01index/default" },
		"a slash in a tenant":    func(k *Key) { k.Tenant = "a/b" },
		"the tenant *":           func(k *Key) { k.Tenant = "*" },
		"no scope":               func(k *Key) { k.Scopes = nil },
		"control in a model":     func(k *Key) { k.Models = []string{"a\x1b[2Jb"} },
		"too many models":        func(k *Key) { k.Models = make([]string, 101) },
		"an empty model":         func(k *Key) { k.Models = []string{""} },
		"a model without an end": func(k *Key) { k.Models = []string{strings.Repeat("m", 257)} },
	} {
		k := good
		change(&k)
		if err := k.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestValid(t *testing.T) {
	now := time.Unix(1000, 0)
	h, old := Sum("new"), Sum("old")
	for name, tt := range map[string]struct {
		key  Key
		hash Hash
		want bool
	}{
		"valid":                   {Key{Hash: h}, h, true},
		"another":                 {Key{Hash: h}, old, false},
		"zero previous hash":      {Key{Hash: h}, Hash{}, false},
		"expires later":           {Key{Hash: h, ExpiresAt: now.Add(1)}, h, true},
		"expires now":             {Key{Hash: h, ExpiresAt: now}, h, false},
		"revoked":                 {Key{Hash: h, RevokedAt: now}, h, false},
		"previous":                {Key{Hash: h, PreviousHash: old, PreviousUntil: now.Add(1)}, old, true},
		"previous, over":          {Key{Hash: h, PreviousHash: old, PreviousUntil: now}, old, false},
		"previous, revoked":       {Key{Hash: h, PreviousHash: old, PreviousUntil: now.Add(1), RevokedAt: now}, old, false},
		"new one of a rotated":    {Key{Hash: h, PreviousHash: old, PreviousUntil: now}, h, true},
		"previous beyond its end": {Key{Hash: h, PreviousHash: old, PreviousUntil: now.Add(2), ExpiresAt: now}, old, false},
	} {
		if got := tt.key.Valid(tt.hash, now); got != tt.want {
			t.Errorf("%s: got %t, want %t", name, got, tt.want)
		}
	}
}

func TestParseHash(t *testing.T) {
	h := Sum("x")
	if got, err := ParseHash(h.String()); err != nil || got != h {
		t.Errorf("got %v, %v, want %v", got, err, h)
	}
	for _, text := range []string{"", "ab", strings.Repeat("g", 64), h.String() + "00"} {
		if _, err := ParseHash(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestRing(t *testing.T) {
	now := time.Unix(1000, 0)
	var r Ring
	for _, k := range []Key{
		{ID: "1", Name: "one", Tenant: "a", Hash: Sum("first"), Scopes: []Scope{Live}},
		{ID: "2", Name: "two", Tenant: "b", Hash: Sum("second"), Scopes: []Scope{Read}},
		{ID: "3", Name: "old", Tenant: "b", Hash: Sum("third"), ExpiresAt: now},
	} {
		if err := r.Add(k); err != nil {
			t.Fatal(err)
		}
	}
	for secret, want := range map[string]string{"first": "1", "second": "2", "third": "", "fourth": "", "": "", "firs": ""} {
		if id, found := r.Find(secret, now); id.KeyID != want || found != (want != "") {
			t.Errorf("%q: got key %q, %t, want %q", secret, id.KeyID, found, want)
		}
	}
	if err := r.Add(Key{ID: "4", Name: "four", Tenant: "c", Hash: Sum("first")}); err == nil {
		t.Error("two identities for one secret were accepted")
	}
}

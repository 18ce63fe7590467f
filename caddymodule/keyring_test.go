package caddymodule

import (
	"cmp"
	"encoding/base64"
	"net/http/httptest"
	"testing"
)

// basic is the header of HTTP Basic authentication.
func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

func TestKeyring(t *testing.T) {
	for name, tt := range map[string]struct {
		keys          []string
		authorization string
		apiKey        string
		want          bool
		name          string // of the header of apiKey: X-Api-Key when empty
	}{
		"no keys, nothing shown":     {nil, "", "", true, ""},
		"no keys, something shown":   {nil, "Bearer x", "", true, ""},
		"nothing shown":              {[]string{"one"}, "", "", false, ""},
		"the key":                    {[]string{"one"}, "Bearer one", "", true, ""},
		"the second":                 {[]string{"one", "two"}, "Bearer two", "", true, ""},
		"scheme in lower case":       {[]string{"one"}, "bearer one", "", true, ""},
		"two spaces":                 {[]string{"one"}, "Bearer  one", "", true, ""},
		"another":                    {[]string{"one"}, "Bearer other", "", false, ""},
		"a beginning of it":          {[]string{"one"}, "Bearer on", "", false, ""},
		"more than it":               {[]string{"one"}, "Bearer one1", "", false, ""},
		"another case":               {[]string{"one"}, "Bearer ONE", "", false, ""},
		"empty":                      {[]string{"one"}, "Bearer ", "", false, ""},
		"no scheme":                  {[]string{"one"}, "one", "", false, ""},
		"basic":                      {[]string{"one"}, "Basic one", "", false, ""},
		"as X-Api-Key":               {[]string{"one"}, "", "one", true, ""},
		"another as X-Api-Key":       {[]string{"one"}, "", "two", false, ""},
		"basic, and the key as well": {[]string{"one"}, "Basic b25lOg==", "one", true, ""},
		"a wrong one before":         {[]string{"one"}, "Bearer two", "one", false, ""},
		"as Api-Key":                 {[]string{"one"}, "", "one", true, "Api-Key"},
		"another as Api-Key":         {[]string{"one"}, "", "two", false, "Api-Key"},
		"a wrong one before Api-Key": {[]string{"one"}, "Bearer two", "one", false, "Api-Key"},
		"as password":                {[]string{"one"}, basic("besh", "one"), "", true, ""},
		"as password without a name": {[]string{"one"}, basic("", "one"), "", true, ""},
		"another as password":        {[]string{"one"}, basic("besh", "two"), "", false, ""},
		"no password":                {[]string{"one"}, basic("besh", ""), "", false, ""},
		"as name":                    {[]string{"one"}, basic("one", ""), "", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ring, err := newKeyring(tt.keys)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			if tt.authorization != "" {
				r.Header.Set("Authorization", tt.authorization)
			}
			if tt.apiKey != "" {
				r.Header.Set(cmp.Or(tt.name, "X-Api-Key"), tt.apiKey)
			}
			if got := ring.admits(r); got != tt.want {
				t.Errorf("admits: %t, want %t", got, tt.want)
			}
		})
	}
}

// An empty key would let in whoever shows an empty one.
func TestEmptyKey(t *testing.T) {
	for _, keys := range [][]string{{""}, {"one", " "}, {"\t"}} {
		if _, err := newKeyring(keys); err == nil {
			t.Errorf("%q is taken", keys)
		}
	}
}

package caddymodule

import (
	"cmp"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
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
		"a placeholder before":       {[]string{"one"}, "Bearer none", "one", true, ""},
		"a wrong one behind":         {[]string{"one"}, "Bearer one", "two", true, ""},
		"two wrong ones":             {[]string{"one"}, "Bearer two", "three", false, ""},
		"wrong password, and a key":  {[]string{"one"}, basic("any", "two"), "one", true, ""},
		"as Api-Key":                 {[]string{"one"}, "", "one", true, "Api-Key"},
		"another as Api-Key":         {[]string{"one"}, "", "two", false, "Api-Key"},
		"a placeholder and Api-Key":  {[]string{"one"}, "Bearer none", "one", true, "Api-Key"},
		"empty bearer and Api-Key":   {[]string{"one"}, "Bearer ", "one", true, "Api-Key"},
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

// TestEmptyKey checks that an empty key is not accepted.
func TestEmptyKey(t *testing.T) {
	for _, keys := range [][]string{{""}, {"one", " "}, {"\t"}} {
		if _, err := newKeyring(keys); err == nil {
			t.Errorf("%q is taken", keys)
		}
	}
}

// What is left of a request's headers is what shows a key: a placeholder that many
// users send does not make them one client.
func TestKeepValid(t *testing.T) {
	for name, tt := range map[string]struct {
		keys        []string
		shown, want http.Header
	}{
		"placeholder and key": {[]string{"one", "two"}, http.Header{"Authorization": {"Bearer none"}, "X-Api-Key": {"one"}}, http.Header{"X-Api-Key": {"one"}}},
		"other header":        {[]string{"one", "two"}, http.Header{"Authorization": {"Bearer none"}, "Api-Key": {"two"}}, http.Header{"Api-Key": {"two"}}},
		"key and placeholder": {[]string{"one", "two"}, http.Header{"Authorization": {"Bearer one"}, "X-Api-Key": {"x"}}, http.Header{"Authorization": {"Bearer one"}}},
		"wrong password":      {[]string{"one", "two"}, http.Header{"Authorization": {basic("a", "b")}, "Api-Key": {"one"}}, http.Header{"Api-Key": {"one"}}},
		"both valid":          {[]string{"one", "two"}, http.Header{"Authorization": {"Bearer one"}, "Api-Key": {"two"}}, http.Header{"Authorization": {"Bearer one"}, "Api-Key": {"two"}}},
		"no keys":             {nil, http.Header{"Authorization": {"Bearer x"}, "Api-Key": {"y"}}, http.Header{"Authorization": {"Bearer x"}, "Api-Key": {"y"}}},
	} {
		a := &App{APIKeys: tt.keys}
		var err error
		if a.keys, err = a.loadKeys(&secrets{}); err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Header: tt.shown.Clone()}
		if _, err := a.authenticate(r); err != nil {
			t.Errorf("%s: refused: %v", name, err)
		}
		if !maps.EqualFunc(r.Header, tt.want, slices.Equal) {
			t.Errorf("%s: got %v, want %v", name, r.Header, tt.want)
		}
	}
}

// A request with many keys, each of which may read the store, is refused.
func TestManyKeysAreRefused(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
	for range maxCredentials + 1 {
		r.Header.Add("X-Api-Key", "tg-guess")
	}
	if _, err := new(App).authenticate(r); err == nil || err.Code != "too_many_api_keys" {
		t.Errorf("got %v, want a refusal", err)
	}
}

package access

import (
	"errors"
	"testing"
	"time"
)

func TestScopesInclude(t *testing.T) {
	want := map[Scope][]Scope{
		Live: {Live}, Batch: {Batch, Read}, Read: {Read}, Operate: {Operate, Read}, Admin: Scopes,
	}
	for _, own := range Scopes {
		id := Identity{Scopes: []Scope{own}}
		for _, asked := range Scopes {
			included := false
			for _, s := range want[own] {
				included = included || s == asked
			}
			if got := id.May(asked); got != included {
				t.Errorf("scope %s: May(%s) is %t, want %t", own, asked, got, included)
			}
		}
	}
}

func TestNoIdentityHasNoRights(t *testing.T) {
	id := From(t.Context())
	for _, s := range Scopes {
		if id.May(s) {
			t.Errorf("a context without an identity has the scope %s", s)
		}
	}
	if got := From(With(t.Context(), Identity{KeyID: "k"})); got.KeyID != "k" {
		t.Errorf("got identity %+v, want that of the context", got)
	}
}

func TestModels(t *testing.T) {
	if !(Identity{}).MayUse("any") {
		t.Error("an identity without models may not use every model")
	}
	id := Identity{Models: []string{"a", "b"}}
	for model, want := range map[string]bool{"a": true, "b": true, "A": false, "a ": false, "": false, "ab": false} {
		if got := id.MayUse(model); got != want {
			t.Errorf("MayUse(%q) is %t, want %t", model, got, want)
		}
	}
}

// A key never makes one with more rights than its own.
func TestCovers(t *testing.T) {
	soon, later := time.Unix(1000, 0), time.Unix(2000, 0)
	admin := Identity{Tenant: "a", Scopes: []Scope{Admin}}
	limited := Identity{Tenant: "a", Scopes: []Scope{Admin}, Models: []string{"m"}, Until: soon}
	budgeted := Identity{Tenant: "a", Scopes: []Scope{Admin}, Limits: Limits{RequestsPerMinute: 10, CostPerMonth: 5}}
	for name, tt := range map[string]struct {
		by      Identity
		key     Key
		covered bool
	}{
		"an admin covers every key":          {admin, Key{Tenant: "b", Scopes: Scopes}, true},
		"a scope that it lacks":              {Identity{Tenant: "a", Scopes: []Scope{Batch}}, Key{Tenant: "a", Scopes: []Scope{Live}}, false},
		"a scope that is included":           {Identity{Tenant: "a", Scopes: []Scope{Batch}}, Key{Tenant: "a", Scopes: []Scope{Read}}, true},
		"another tenant":                     {Identity{Tenant: "a", Scopes: []Scope{Batch}}, Key{Tenant: "b", Scopes: []Scope{Batch}}, false},
		"the same limits":                    {limited, Key{Tenant: "a", Scopes: []Scope{Live}, Models: []string{"m"}, ExpiresAt: soon}, true},
		"every model":                        {limited, Key{Tenant: "a", Scopes: []Scope{Live}, ExpiresAt: soon}, false},
		"another model":                      {limited, Key{Tenant: "a", Scopes: []Scope{Live}, Models: []string{"m", "n"}, ExpiresAt: soon}, false},
		"no expiry":                          {limited, Key{Tenant: "a", Scopes: []Scope{Live}, Models: []string{"m"}}, false},
		"a later expiry":                     {limited, Key{Tenant: "a", Scopes: []Scope{Live}, Models: []string{"m"}, ExpiresAt: later}, false},
		"no limits":                          {budgeted, Key{Tenant: "a", Scopes: []Scope{Live}}, false},
		"larger limits":                      {budgeted, Key{Tenant: "a", Scopes: []Scope{Live}, Limits: Limits{RequestsPerMinute: 11, CostPerMonth: 5}}, false},
		"a larger budget":                    {budgeted, Key{Tenant: "a", Scopes: []Scope{Live}, Limits: Limits{RequestsPerMinute: 10, CostPerMonth: 6}}, false},
		"one limit is missing":               {budgeted, Key{Tenant: "a", Scopes: []Scope{Live}, Limits: Limits{RequestsPerMinute: 10}}, false},
		"equal limits":                       {budgeted, Key{Tenant: "b", Scopes: []Scope{Live}, Limits: Limits{RequestsPerMinute: 10, CostPerMonth: 5}}, true},
		"smaller and additional limits":      {budgeted, Key{Tenant: "a", Scopes: []Scope{Live}, Limits: Limits{RequestsPerMinute: 1, CostPerMonth: 1, LinesQueued: 1}}, true},
		"limits by a client without limits":  {admin, Key{Tenant: "a", Scopes: []Scope{Live}, Limits: Limits{RequestsPerMinute: 1}}, true},
		"a client without rights covers nil": {Identity{Tenant: "a"}, Key{Tenant: "a", Scopes: []Scope{Read}}, false},
	} {
		err := tt.by.Covers(tt.key)
		if (err == nil) != tt.covered || err != nil && !errors.Is(err, ErrMoreRights) {
			t.Errorf("%s: got %v, want covered %t", name, err, tt.covered)
		}
	}
}

func TestParseScopes(t *testing.T) {
	got, err := ParseScopes([]string{"batch", "live", "batch"})
	if err != nil || Join(got, " ") != "batch live" {
		t.Errorf("got %v, %v, want batch and live", got, err)
	}
	if _, err := ParseScopes([]string{"live", "root"}); err == nil {
		t.Error("an unknown scope was accepted")
	}
}

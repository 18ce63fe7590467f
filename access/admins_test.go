package access

import (
	"errors"
	"testing"
	"time"
)

// There is always a key that can manage the others.
func TestAdminsAreKept(t *testing.T) {
	now := time.Unix(1000, 0)
	admin := func(id string, change func(*Key)) Key {
		k := Key{ID: id, Scopes: []Scope{Admin}}
		if change != nil {
			change(&k)
		}
		return k
	}
	revoked := func(k *Key) { k.RevokedAt = now }
	expires := func(k *Key) { k.ExpiresAt = now }
	limited := func(k *Key) { k.Models = []string{"m"} }
	live := Key{ID: "live", Scopes: []Scope{Live, Batch, Read, Operate}}

	for name, tt := range map[string]struct {
		keys []Key
		n    Key
		want error
	}{
		"an admin":                     {nil, admin("1", nil), nil},
		"no admin":                     {nil, live, ErrFirstKey},
		"an admin that expires":        {nil, admin("1", expires), ErrFirstKey},
		"an admin with a model":        {nil, admin("1", limited), ErrFirstKey},
		"after an admin":               {[]Key{admin("1", nil)}, live, nil},
		"after a limited admin":        {[]Key{admin("1", expires)}, live, nil},
		"after a revoked admin":        {[]Key{admin("1", revoked)}, live, ErrFirstKey},
		"after keys without the scope": {[]Key{live}, live, ErrFirstKey},
	} {
		if err := CheckFirst(tt.keys, &tt.n); !errors.Is(err, tt.want) || err != nil && tt.want == nil {
			t.Errorf("making %s: got %v, want %v", name, err, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		keys []Key
		id   string
		want error
	}{
		"the last admin":               {[]Key{admin("1", nil), live}, "1", ErrLastAdmin},
		"one of two admins":            {[]Key{admin("1", nil), admin("2", nil)}, "1", nil},
		"beside a revoked admin":       {[]Key{admin("1", nil), admin("2", revoked)}, "1", ErrLastAdmin},
		"beside an admin that expires": {[]Key{admin("1", nil), admin("2", expires)}, "1", ErrLastAdmin},
		"an admin that expires":        {[]Key{admin("1", nil), admin("2", expires)}, "2", nil},
		"a revoked admin":              {[]Key{admin("1", revoked)}, "1", nil},
		"another key":                  {[]Key{admin("1", nil), live}, "live", nil},
		"another key, without admins":  {[]Key{live}, "live", nil},
		"an unknown key":               {[]Key{admin("1", nil)}, "none", nil},
	} {
		if err := CheckRevoke(tt.keys, tt.id); !errors.Is(err, tt.want) || err != nil && tt.want == nil {
			t.Errorf("revoking %s: got %v, want %v", name, err, tt.want)
		}
	}
}

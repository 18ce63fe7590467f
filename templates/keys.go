package templates

import (
	"slices"
	"strings"
	"time"
)

// KeyList is the model of the list of API keys.
type KeyList struct {
	Tenant, Text string // filters
	All          bool   // revoked and expired ones, too
	Tenants      []string
	Rows         []KeyRow
	Configured   []KeyRow // keys of the configuration
	Open         bool     // there is no key: clients need none
	Pages        Pages
}

// Any reports whether the list is filtered.
func (l KeyList) Any() bool { return l.Tenant != "" || l.Text != "" || l.All }

// KeyRow is a key in a list.
type KeyRow struct {
	ID, Name, Tenant, State   string
	Scopes, Models            []string // no models: every model
	Limits                    []KeyLimit
	Created, Expires, Revoked time.Time
	PreviousUntil             time.Time // the secret before is accepted until then; zero: it is not
	By                        string    // the key that made it, "" for a client without one
	Own                       bool      // the reader uses it
	CanLimit                  bool
	CanRotate, CanRevoke      bool
}

// models returns the models that the key may use.
func (k KeyRow) models() string {
	if len(k.Models) == 0 {
		return "every model"
	}
	return strings.Join(k.Models, ", ")
}

// KeyLimit is a limit of a key.
type KeyLimit struct {
	Name  string
	Value string
}

// KeyForm is the model of the form for a new key, with the values that were sent.
type KeyForm struct {
	Once                          string // identifies the form, which makes one key
	Name, Tenant, Models, Expires string
	Scopes                        []string          // chosen
	Limits                        map[string]string // by name
	AllScopes, AllLimits, Tenants []string          // to choose from
	First                         bool              // there is no key yet
	Wrong                         string            // why the key was not made
}

func (f KeyForm) has(scope string) bool { return slices.Contains(f.Scopes, scope) }

// anyLimit reports whether a limit is set.
func (f KeyForm) anyLimit() bool {
	for _, value := range f.Limits {
		if value != "" {
			return true
		}
	}
	return false
}

// KeyLimitsForm is the model of the form for the limits of a key.
type KeyLimitsForm struct {
	ID, Subject string
	Own         bool // the reader uses the key
	Changeable  bool // the key is neither revoked nor expired
	Fields      []KeyLimitField
	Wrong       string // why they were not changed
}

// WasPrefix begins the names of the fields with the values when the form was opened.
const WasPrefix = "was-"

// KeyLimitField is a limit in a form, "" for none.
type KeyLimitField struct {
	Name  string
	Value string
	Was   string // when the form was opened
}

// scopeTexts explain the scopes.
var scopeTexts = map[string]string{
	"live":    "sends live requests",
	"batch":   "makes and changes files and batches of its tenant; includes read",
	"read":    "reads files, batches and reports of its tenant",
	"operate": "drains servers, and pauses and prioritizes batches of other keys; includes read",
	"admin":   "manages keys and sees all tenants; includes every other scope",
}

// KeySecret is a key with its secret, which is shown once.
type KeySecret struct {
	KeyRow
	Secret string
}

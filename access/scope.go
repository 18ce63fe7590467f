package access

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is a right that a key can have.
type Scope string

// The scopes.
const (
	Live    Scope = "live"    // sends live requests
	Batch   Scope = "batch"   // makes and changes files, uploads and batches of its tenant; includes read
	Read    Scope = "read"    // reads files, batches and reports of its tenant
	Operate Scope = "operate" // drains servers, pauses and prioritizes batches of other keys; includes read
	Admin   Scope = "admin"   // manages keys and sees all tenants; includes every other scope
)

// Scopes lists all scopes, in the order of the documentation.
var Scopes = []Scope{Live, Batch, Read, Operate, Admin}

// ParseScopes returns the scopes with these names, without repetitions.
func ParseScopes(names []string) ([]Scope, error) {
	var scopes []Scope
	for _, name := range names {
		s := Scope(name)
		if !slices.Contains(Scopes, s) {
			return nil, fmt.Errorf("unknown scope %q; scopes are: %s", name, Join(Scopes, ", "))
		}
		if !slices.Contains(scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

// Join returns the names of scopes with a separator between them.
func Join(scopes []Scope, separator string) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, separator)
}

// includes reports whether scope s includes another scope.
func (s Scope) includes(other Scope) bool {
	return s == other || s == Admin || other == Read && (s == Batch || s == Operate)
}

package access_test

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/access"
)

// A key is shown once, and stored as its hash. Its client has the rights of the key.
func ExampleKey() {
	secret := access.Generate()
	key := access.Key{
		ID: "key_1", Name: "team-a", Tenant: "team-a", Hash: access.Sum(secret),
		Scopes: []access.Scope{access.Batch}, Models: []string{"tide-7b"},
	}
	fmt.Println(access.Managed(secret), key.Valid(access.Sum(secret), time.Now()), key.Valid(access.Sum("tg-guess"), time.Now()))
	client := key.Identity()
	fmt.Println(client.May(access.Read), client.May(access.Live), client.MayUse("tide-7b"), client.MayUse("tide-70b"))
	// Output:
	// true true false
	// true false true false
}

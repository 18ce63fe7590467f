// Package storetest is the conformance suite of [batch.Store]. Every sentence
// of the interface's comments is a test in it; each driver's tests run it:
//
//	func TestStore(t *testing.T) { storetest.Run(t, newDatabase) }
//
// The suite sleeps nowhere: the driver lends it the database's clock.
package storetest

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Database is an empty database for one test, as its driver offers it.
type Database struct {
	// Store makes a store on the database that is not open. The suite opens
	// and closes it; it has one open at a time.
	Store func() batch.Store
	// Advance moves the database's clock forward, or back for a negative
	// duration. The clock may also run on its own.
	Advance func(time.Duration)
	// SetSchema sets the schema version of the closed database, as a newer
	// program would.
	SetSchema func(t *testing.T, version int)
	// MoreKeys adds n keys like the only one of the database, which a store has open. To
	// create thousands one by one takes long.
	MoreKeys func(t *testing.T, n int)
	// Exclusive is true when only one process can have the database open, so
	// that Open ends all leases.
	Exclusive bool
}

// Run runs the suite. It calls database once for every test; t.Cleanup closes what it
// opens.
func Run(t *testing.T, database func(t *testing.T) Database) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"Open", openTests},
		{"Files", fileTests},
		{"Uploads", uploadTests},
		{"Quotas", quotaTests},
		{"Batches", batchTests},
		{"Control", controlTests},
		{"Idempotency", idempotencyTests},
		{"Deletion", deletionTests},
		{"Claims", claimTests},
		{"Kept", keptTests},
		{"Commits", commitTests},
		{"Finish", finishTests},
		{"Collect", collectTests},
		{"Upstream models", upstreamModelTests},
		{"Keys", keyTests},
		{"Usage", usageTests},
		{"Key usage", keyUsageTests},
		{"Analytics", analyticsTests},
		{"Flow", flowTests},
		{"Webhooks", webhookTests},
		{"Receipts", receiptTests},
		{"Audit", auditTests},
		{"Tenants", tenantTests},
		{"Hostile", hostileTests},
		{"Races", raceTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, test := range g.tests {
				t.Run(test.name, func(t *testing.T) {
					e := &env{T: t, db: database(t)}
					e.open()
					test.run(e)
				})
			}
		})
	}
}

type test struct {
	name string
	run  func(*env)
}

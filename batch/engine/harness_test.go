package engine_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = batchtest.Tenant

// harness is a batchtest.Harness with what only tests of this package need.
type harness struct{ *batchtest.Harness }

func newHarness(t testing.TB, cfg batch.Config) harness {
	t.Helper()
	return harness{batchtest.New(t, cfg)}
}

// newHeldHarness opens a harness with a batch of lines, of which cfg.MaxInFlight are in
// flight. They and all later ones are answered when hold is closed.
func newHeldHarness(t *testing.T, cfg batch.Config, lines int) (h harness, id string, hold chan struct{}) {
	t.Helper()
	h, hold = newHarness(t, cfg), make(chan struct{})
	h.Pool.Answer = batchtest.Behind(hold)
	h.Pool.Received = make(chan string, 3000)
	h.Open()
	id = h.Create(h.Upload(batchtest.Input(lines)))
	for range cfg.MaxInFlight {
		<-h.Pool.Received
	}
	return h, id, hold
}

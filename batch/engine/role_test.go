package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
	"github.com/tidegate/tidegate/batch/engine"
)

// A gateway that only serves accepts batches and leaves all their work to others:
// until one comes it reports that they wait.
func TestServeLeavesBatchesToOthers(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{Role: batch.RoleServe}, 1)
	serving := s.Members[0]
	if h := serving.Engine.Health(t.Context()); !h.OK() || h.Role != batch.RoleServe || h.Gateways != nil {
		t.Errorf("without a batch: got health %+v, want nothing wrong", h)
	}
	id := serving.Create(serving.Upload(batchtest.Input(200)))
	batchtest.Until(t, "health says that no gateway works on batches", func() bool {
		h := serving.Engine.Health(t.Context())
		return !h.OK() && slices.ContainsFunc(h.Paused, func(p engine.Problem) bool {
			return strings.Contains(p.Text, "no gateway works on batches (batches waiting: 1)")
		})
	})
	if b := serving.Get(id); b.Status != batch.Validating {
		t.Errorf("the batch is %s, want %s", b.Status, batch.Validating)
	}

	working := s.Join(batch.Config{Role: batch.RoleWork})
	if b := serving.Wait(id); b.Status != batch.Completed {
		t.Errorf("the batch ended as %s", b.Status)
	} else {
		serving.Check(b, 200)
	}
	if n := serving.Pool.CallCount(); n != 0 {
		t.Errorf("the gateway that serves sent %d lines", n)
	}
	if n := working.Pool.CallCount(); n != 200 {
		t.Errorf("the gateway that works sent %d lines, want 200", n)
	}
	batchtest.Until(t, "nothing is wrong any more, and each is named with its role", func() bool {
		h := serving.Engine.Health(t.Context())
		return h.OK() && len(h.Gateways) == 2 && h.Gateways[0].Self && h.Gateways[0].Role == batch.RoleServe && h.Gateways[1].Role == batch.RoleWork &&
			h.Gateways[0].ID != "" && h.Gateways[1].ID != "" && h.Gateways[0].ID != h.Gateways[1].ID
	})
}

// A reload changes the role: lines that run finish, and the others are released. They
// run when the gateway works again.
func TestRoleChanges(t *testing.T) {
	t.Parallel()
	h, id, hold := newHeldHarness(t, batch.Config{MaxInFlight: 20}, 500)
	h.Engine.Apply(batch.Config{Role: batch.RoleServe, MaxInFlight: 20})
	close(hold)
	h.WaitIdle(id, 20)
	if n := h.Pool.CallCount(); n != 20 {
		t.Errorf("%d lines were sent, want the 20 from before", n)
	}
	refs, err := h.Store.ClaimableSlices(t.Context(), id, 100)
	if err != nil || len(refs) == 0 {
		t.Errorf("got %d slices that others can claim and error %v, want some", len(refs), err)
	}
	h.Engine.Apply(batch.Config{Role: batch.RoleAll, MaxInFlight: 20})
	if b := h.Wait(id); b.Status != batch.Completed {
		t.Errorf("the batch ended as %s", b.Status)
	}
	if r := h.Pool.Repeated(); r != 0 {
		t.Errorf("%d calls repeated, want none", r)
	}
}

// Peers are counted by what they do; a gateway of a version without roles does
// everything.
func TestPeersByRole(t *testing.T) {
	t.Parallel()
	s := batchtest.NewCluster(t, batch.Config{}, 0)
	pool := &sharingPool{Pool: batchtest.NewPool()}
	for id, role := range map[string]batch.Role{"a": "", "b": batch.RoleAll, "c": batch.RoleServe, "d": batch.RoleWork, "e": batch.RoleWork} {
		if _, err := s.Store.Announce(t.Context(), batch.Peer{ID: id, Role: role, Place: "here"}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	engine := batchtest.NewEngine(batch.Config{}, s.Store, batchtest.SharedFiles{Files: nopFiles{}, Location: "here"}, pool)
	if err := engine.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := *pool.counted.Load(), (batch.Peers{All: 5, Serving: 3, Working: 4}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := engine.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestRoleIsValidated(t *testing.T) {
	t.Parallel()
	if err := (batch.Config{Role: "boss"}).Validate(); err == nil || !strings.Contains(err.Error(), `role must be all, serve or work, not "boss"`) {
		t.Errorf("got %v", err)
	}
}

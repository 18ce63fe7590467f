package scheduler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Running lines are divided by the weights of tenants, whatever the number, the age and the
// priority of their batches.
func TestTenantsShareSlots(t *testing.T) {
	for name, tt := range map[string]struct {
		weights map[string]float64
		batches map[string]int // of each tenant; those of a have the highest priority
		slots   int
		want    map[string]int // running lines
	}{
		"equal":                {batches: map[string]int{"a": 8, "b": 1}, slots: 20, want: map[string]int{"a": 10, "b": 10}},
		"weights":              {weights: map[string]float64{"a": 3}, batches: map[string]int{"a": 2, "b": 2}, slots: 20, want: map[string]int{"a": 15, "b": 5}},
		"fractions":            {weights: map[string]float64{"a": 0.5}, batches: map[string]int{"a": 1, "b": 1}, slots: 9, want: map[string]int{"a": 3, "b": 6}},
		"three":                {weights: map[string]float64{"c": 2}, batches: map[string]int{"a": 5, "b": 1, "c": 1}, slots: 40, want: map[string]int{"a": 10, "b": 10, "c": 20}},
		"a tenant with little": {batches: map[string]int{"a": 4, "b": 1}, slots: 100, want: map[string]int{"a": 70, "b": 30}},
		"one tenant":           {batches: map[string]int{"a": 3}, slots: 9, want: map[string]int{"a": 9}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newQueueSet(unlimited)
			for tenant, n := range tt.batches {
				for i := range n {
					b := batch.Batch{ID: fmt.Sprint(tenant, i), Tenant: tenant, Model: "m"}
					if tenant == "a" {
						b.Priority = 100
					}
					q := newBatchQueue(b)
					s.byID[b.ID] = q
					w := &work{batchQueue: q, left: 30}
					w.BatchID = b.ID
					for i := range 30 {
						w.lines = append(w.lines, newLine(w, i, request("m")))
					}
					s.add(q, w)
				}
			}
			p := pickerOf(batch.Config{Weights: tt.weights}, s, &slotPool{slots: map[string]int{"m": tt.slots}})
			got := make(map[string]int)
			p.beginRound()
			for {
				l, _ := p.next(make(map[string]bool), func(string, error) {})
				if l == nil {
					break
				}
				l.work.batchQueue.begin("m", 1)
				p.started(l, "u")
				got[l.work.batchQueue.batch.Tenant]++
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("running lines: got %v, want %v", got, tt.want)
			}
		})
	}
}

// Waiting batches of several tenants take turns by weight; the order of the batches of a
// tenant depends on priority and age.
func TestTenantsTakeTurns(t *testing.T) {
	of := func(id, tenant string, priority int) batch.Batch {
		return batch.Batch{ID: id, Tenant: tenant, Priority: priority}
	}
	many := []batch.Batch{of("a1", "a", 0), of("a2", "a", 0), of("a3", "a", 9), of("a4", "a", 0), of("b1", "b", 0), of("b2", "b", -5), of("c1", "c", 0)}
	for name, tt := range map[string]struct {
		weights map[string]float64
		most    int
		served  string
		waiting string
	}{
		"one each":  {most: 3, served: "a3 b1 c1", waiting: "a1 b2 a2 a4"},
		"weights":   {weights: map[string]float64{"a": 2}, most: 4, served: "a1 a3 b1 c1", waiting: "a2 b2 a4"},
		"all":       {most: 9, served: "a1 a2 a3 a4 b1 b2 c1"},
		"low share": {weights: map[string]float64{"a": 0.1}, most: 4, served: "a3 b1 b2 c1", waiting: "a1 a2 a4"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(dependencies(batch.Config{MaxConcurrentBatches: tt.most, Weights: tt.weights}))
			s.refreshed(many)
			r := s.rotation
			r.admit(&places{}, time.Now())
			if got := r.served(); got != tt.served {
				t.Errorf("served: got %q, want %q", got, tt.served)
			}
			if got := strings.Join(r.waiting, " "); got != tt.waiting {
				t.Errorf("waiting: got %q, want %q", got, tt.waiting)
			}
		})
	}
}

// A batch of a tenant without a place gets one of a tenant that has all of them at once,
// also against higher priorities, and before the other waiting batches of that tenant.
func TestNewTenantGetsPlace(t *testing.T) {
	var batches []batch.Batch
	for i := range 20 {
		batches = append(batches, batch.Batch{ID: fmt.Sprintf("a%02d", i), Tenant: "a", Priority: 50})
	}
	s := noBatches(4)
	s.refreshed(batches)
	r, now := s.rotation, time.Now()
	r.admit(&places{}, now)
	for _, q := range r.queues.byID {
		q.loading = false
		q.work[claimKey{}] = &work{batchQueue: q} // it is not empty
	}
	s.refreshed(append(batches, batch.Batch{ID: "b", Tenant: "b", Priority: -50}))
	p := r.endTurns(now)
	r.rotate(&p, now)
	retired := 0
	for _, q := range r.queues.byID {
		if q.isRetiring() {
			retired++
		}
	}
	if retired != 1 {
		t.Fatalf("got %d batches whose turn ended, want 1", retired)
	}
	p = r.endTurns(now)
	r.admit(&p, now)
	if r.queues.byID["b"] == nil {
		t.Errorf("served: got %q, want b among them", r.served())
	}
}

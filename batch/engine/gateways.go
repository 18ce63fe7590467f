package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// Gateway is a gateway that shares the store, as it was heard last.
type Gateway struct {
	// ID is new at each start. Gateways on one host differ in it.
	ID   string     `json:"id"`
	Host string     `json:"host"`
	Role batch.Role `json:"role"`
	// Self reports whether it is this gateway.
	Self bool `json:"self,omitempty"`
	// Since is when it started.
	Since time.Time `json:"since,omitzero"`
	// Live and Batch are the requests and lines that it has in flight.
	Live  int `json:"live_in_flight"`
	Batch int `json:"batch_in_flight"`
}

// Gateways returns the gateways that share the store, this one first.
func (m *member) Gateways() []Gateway {
	self := Gateway{ID: m.owner, Host: m.self.Host, Role: m.Role(), Self: true, Since: m.began}
	if shared := m.dispatcher.Capabilities().Loads; shared != nil {
		self.add(shared.Loads())
	}
	all := []Gateway{self}
	if others := m.others.Load(); others != nil {
		for _, o := range *others {
			g := Gateway{ID: o.ID, Host: o.Host, Role: o.Role, Since: o.Since}
			g.add(o.Loads)
			all = append(all, g)
		}
	}
	return all
}

// linesByModel counts the lines that this gateway has in flight; nil if the scheduler
// does not answer within a part of AnnounceInterval.
func (m *member) linesByModel(ctx context.Context) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, batch.AnnounceInterval/2)
	defer cancel()
	batches := m.scheduler.LinesInFlight(ctx)
	if batches == nil {
		return nil
	}
	lines := make(map[string]int64)
	for _, models := range batches {
		for model, n := range models {
			lines[model] += n
		}
	}
	return lines
}

// linesElsewhere counts the lines that other gateways have in flight, by model.
func (m *member) linesElsewhere() map[string]int64 {
	lines := make(map[string]int64)
	if others := m.others.Load(); others != nil {
		for _, o := range *others {
			for model, n := range o.Lines {
				lines[model] += max(n, 0)
			}
		}
	}
	return lines
}

// InFlightEverywhere returns the number of lines that all gateways have sent and that
// have no durable result yet.
func (m *member) InFlightEverywhere() int64 {
	n := m.scheduler.Metrics().InFlight()
	for _, lines := range m.linesElsewhere() {
		n += lines
	}
	return n
}

func (g *Gateway) add(loads map[string]batch.Load) {
	for _, l := range loads {
		g.Live += l.Live
		g.Batch += l.Batch
	}
}

// lacksWorker reports whether neither this gateway nor another one works on batches.
func (m *member) lacksWorker() bool {
	if m.Role().Works() {
		return false
	}
	others := m.others.Load()
	return others == nil || peersOf(*others).Working == 0
}

// noteWorkers records in health whether batches wait because no gateway works on
// them.
func (m *member) noteWorkers(ctx context.Context) {
	if !m.lacksWorker() {
		m.health.Note("roles", nil)
		return
	}
	bounded, cancel := m.bounded(ctx)
	defer cancel()
	states, err := m.store.BatchStates(bounded, batch.AllTenants)
	if err != nil {
		return // other parts report that the store is away
	}
	var waiting int64
	for status, n := range states {
		if !status.Terminal() {
			waiting += n
		}
	}
	if waiting == 0 {
		m.health.Note("roles", nil)
		return
	}
	m.health.Note("roles", &noWorkerError{waiting})
}

// noWorkerError reports that batches wait because of the roles of all gateways.
type noWorkerError struct{ waiting int64 }

func (err *noWorkerError) Error() string {
	return fmt.Sprintf("no gateway works on batches (batches waiting: %d): all that share the store have the role serve; start one with the role work or all", err.waiting)
}

func peersOf(others []batch.Peer) (p batch.Peers) {
	for _, o := range others {
		p.All++
		if o.Role.Serves() {
			p.Serving++
		}
		if o.Role.Works() {
			p.Working++
		}
	}
	return p
}

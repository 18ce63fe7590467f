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

// Role returns the role of this gateway.
func (e *Engine) Role() batch.Role { return e.config().Role }

// Gateways returns the gateways that share the store, this one first.
func (e *Engine) Gateways() []Gateway {
	self := Gateway{ID: e.owner, Host: e.self.Host, Role: e.Role(), Self: true, Since: e.began}
	if shared := e.dispatcher.Capabilities().Loads; shared != nil {
		self.add(shared.Loads())
	}
	all := []Gateway{self}
	if others := e.others.Load(); others != nil {
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
func (e *Engine) linesByModel(ctx context.Context) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, batch.AnnounceInterval/2)
	defer cancel()
	batches := e.scheduler.LinesInFlight(ctx)
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
func (e *Engine) linesElsewhere() map[string]int64 {
	lines := make(map[string]int64)
	if others := e.others.Load(); others != nil {
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
func (e *Engine) InFlightEverywhere() int64 {
	n := e.InFlight()
	for _, lines := range e.linesElsewhere() {
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
func (e *Engine) lacksWorker() bool {
	if e.Role().Works() {
		return false
	}
	others := e.others.Load()
	return others == nil || peersOf(*others).Working == 0
}

// noteWorkers records in health whether batches wait because no gateway works on
// them.
func (e *Engine) noteWorkers(ctx context.Context) {
	if !e.lacksWorker() {
		e.health.Note("roles", nil)
		return
	}
	bounded, cancel := e.bounded(ctx)
	defer cancel()
	states, err := e.store.BatchStates(bounded, batch.DefaultTenant)
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
		e.health.Note("roles", nil)
		return
	}
	e.health.Note("roles", &noWorkerError{waiting})
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

package batchtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/wait"
)

// Pool is a dispatcher with one simulated upstream. Its mutex guards the fields below it.
// Set changes them while an engine runs.
type Pool struct {
	freed chan struct{}
	Looks atomic.Int64 // calls of Freed

	sync.Mutex
	Limit         int             // of lines in flight
	Models        map[string]bool // that the upstream serves
	Discovered    bool            // Models are all there are
	Away          bool            // the upstream is stopped, and may be
	Down          bool            // the upstream is down
	Loading       bool            // the upstream is loading
	DownModels    map[string]bool // models whose upstream is down
	FullModels    map[string]bool // models without a free slot
	Room          map[string]int  // free slots of models that have fewer than they want
	OthersAreIdle bool            // other gateways have free slots
	Closing       *batch.Closing  // nil: lines may start at any time of day
	Answer        Answer          // nil: OK

	Calls   map[string]int // by custom_id
	Running int            // lines in flight
	Most    int            // maximum of Running
	// Received delivers the custom_id of each call; nil: it is not used.
	Received chan string
}

// NewPool returns a pool that serves the model m.
func NewPool() *Pool {
	return &Pool{freed: make(chan struct{}, 1), Limit: 1000, Models: map[string]bool{"m": true}, Calls: make(map[string]int), Discovered: true}
}

// Set changes fields, and reports that slots may have become free.
func (p *Pool) Set(change func()) {
	p.Lock()
	change()
	p.Unlock()
	wait.Ring(p.freed)
}

// Lose adds models whose upstream is down.
func (p *Pool) Lose(models ...string) {
	p.Set(func() {
		p.DownModels = make(map[string]bool)
		for _, m := range models {
			p.Models[m], p.DownModels[m] = true, true
		}
	})
}

// Recover brings up the upstreams of all models.
func (p *Pool) Recover() { p.Set(func() { p.DownModels = nil }) }

// InFlight returns the number of lines in flight.
func (p *Pool) InFlight() int { p.Lock(); defer p.Unlock(); return p.Running }

// CallCount returns the number of calls.
func (p *Pool) CallCount() (n int) {
	p.Lock()
	defer p.Unlock()
	for _, calls := range p.Calls {
		n += calls
	}
	return n
}

// Repeated returns the number of calls beyond the first of each line.
func (p *Pool) Repeated() int {
	n := p.CallCount()
	p.Lock()
	defer p.Unlock()
	return n - len(p.Calls)
}

// refusal returns the error of Reserve for a model. The mutex is held.
func (p *Pool) refusal(model string) error {
	room, limited := p.Room[model]
	switch {
	case p.Away:
		return batch.ErrAway
	case p.Loading:
		return batch.ErrLoading
	case p.Down || p.DownModels[model]:
		return batch.ErrDown
	case p.Running >= p.Limit || p.FullModels[model] || limited && room == 0:
		return batch.ErrBusy
	}
	return nil
}

// up returns the result of Up for a model. The mutex is held.
func (p *Pool) up(model string) error {
	switch {
	case p.Away:
		return batch.ErrAway
	case p.Loading || !p.Models[model] && !p.Discovered:
		return batch.ErrLoading
	case p.Down || p.DownModels[model]:
		return batch.ErrDown
	}
	return nil
}

// Reserve implements batch.Dispatcher.
func (p *Pool) Reserve(model, _ string, fit func(string) bool) (batch.Slot, error) {
	p.Lock()
	defer p.Unlock()
	if err := p.refusal(model); err != nil {
		return nil, err
	}
	if fit != nil && !fit(upstream) {
		return nil, batch.ErrBusy
	}
	if _, limited := p.Room[model]; limited {
		p.Room[model]--
	}
	p.Running++
	p.Most = max(p.Most, p.Running)
	return &slot{p, model}, nil
}

// Up implements batch.Dispatcher.
func (p *Pool) Up(model string) error { p.Lock(); defer p.Unlock(); return p.up(model) }

// Free implements batch.Dispatcher.
func (p *Pool) Free(model string) bool {
	p.Lock()
	defer p.Unlock()
	return p.refusal(model) == nil
}

// Slots implements batch.Dispatcher.
func (p *Pool) Slots() int { p.Lock(); defer p.Unlock(); return p.Limit }

// Freed implements batch.Dispatcher.
func (p *Pool) Freed() <-chan struct{} { p.Looks.Add(1); return p.freed }

// Serves implements batch.Dispatcher.
func (p *Pool) Serves(model string) (known, discovered bool) {
	p.Lock()
	defer p.Unlock()
	return p.Models[model], p.Discovered
}

// Closest implements batch.Dispatcher.
func (p *Pool) Closest(string) []string {
	p.Lock()
	defer p.Unlock()
	return slices.Sorted(maps.Keys(p.Models))
}

// Capabilities implements batch.Dispatcher. A Pool discovers no models.
func (p *Pool) Capabilities() batch.DispatcherCapabilities {
	return batch.DispatcherCapabilities{Loads: p, Hours: p}
}

// Closed implements batch.Timed.
func (p *Pool) Closed() (batch.Closing, bool) {
	p.Lock()
	defer p.Unlock()
	if p.Closing == nil {
		return batch.Closing{}, false
	}
	return *p.Closing, true
}

// Loads implements batch.LoadSharer.
func (p *Pool) Loads() map[string]batch.Load { return nil }

// SetPeers implements batch.LoadSharer.
func (p *Pool) SetPeers(batch.Peers, map[string]batch.Load) {}

// OthersIdle implements batch.LoadSharer.
func (p *Pool) OthersIdle(string) bool { p.Lock(); defer p.Unlock(); return p.OthersAreIdle }

// upstream is the name of the simulated upstream.
const upstream = "fake"

// slot is a slot of the simulated upstream.
type slot struct {
	pool  *Pool
	model string
}

func (s *slot) Upstream() string { return upstream }

func (s *slot) Release() {
	s.pool.Set(func() {
		s.pool.Running--
		if _, limited := s.pool.Room[s.model]; limited {
			s.pool.Room[s.model]++
		}
	})
}

// Send reads the custom_id from the prompt and returns the answer of the pool.
func (s *slot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	var request struct{ Messages []struct{ Content string } }
	if err := json.Unmarshal(body, &request); err != nil || path != "/v1/chat/completions" {
		return batch.Answer{}, fmt.Errorf("bad request to %s: %q: %w", path, body, err)
	}
	id := request.Messages[0].Content
	p := s.pool
	p.Lock()
	p.Calls[id]++
	call, answer, received := p.Calls[id], p.Answer, p.Received
	p.Unlock()
	if received != nil {
		received <- id
	}
	if answer != nil {
		return answer(ctx, id, call)
	}
	return OK(id), nil
}

package chaos

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
)

const (
	atOnce    = 24  // histories without an expiry
	expiring  = 180 // histories that expire, in a wave
	ofExpiry  = 8   // one of so many histories expires
	racers    = 4   // maximum, in addition to the client that created the batch
	raceIn    = 400 * time.Millisecond
	expiryIn  = time.Minute             // the shortest possible window
	expiryGap = 1200 * time.Millisecond // before and after it, in which all happens
)

// TestHistories cancels, deletes, expires and finishes batches on three gateways
// concurrently: each ends in exactly one state, which all gateways return, with every line
// once.
func TestHistories(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tidegatetest.StartServers(t, tidegatetest.PostgresRedis), plan{
		gateways: 3, inFlight: 400, batch: "max_concurrent_batches 400",
	})
	ends := &ends{count: make(map[string]int)}
	want := []string{"completed", "cancelled", "deleted"}
	waves := 0
	var racing sync.WaitGroup
	if *expire {
		want = append(want, "expired")
		waves = max(1, *histories/ofExpiry/expiring)
		slow := w.clients(expiring)
		racing.Go(func() {
			for wave := range rounds(waves) {
				var all sync.WaitGroup
				for i, c := range slow {
					all.Go(func() { ends.add(c.race(fmt.Sprintf("%s-%d-%d", c.name, wave, i), true)) })
				}
				all.Wait()
			}
		})
	}
	quick := w.clients(atOnce)
	for i, c := range quick {
		racing.Go(func() {
			for n := range rounds((*histories - waves*expiring + len(quick) - 1) / len(quick)) {
				ends.add(c.race(fmt.Sprintf("%s-%d-%d", c.name, n, i), false))
			}
		})
	}
	racing.Wait()
	t.Logf("ends: %v", ends.count)
	for _, end := range want {
		if ends.count[end] == 0 {
			t.Errorf("no history ended %s", end)
		}
	}
	w.mayRepeat = 0
	w.finish()
}

func (w *world) clients(n int) []*client {
	all := make([]*client, n)
	for i := range all {
		all[i] = w.newClient()
	}
	return all
}

// ends counts how histories ended.
type ends struct {
	mu    sync.Mutex
	count map[string]int // guarded by mu
}

func (e *ends) add(end string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.count[end]++
}

// race is one history: the client creates a batch and follows it while others cancel,
// delete and read it at about the time of its end. It returns the final state.
func (c *client) race(name string, expires bool) string {
	w := c.world
	s := &session{Name: name, Lines: 1 + c.wishes.IntN(3), Shared: true}
	window, from, to := "24h", time.Duration(0), raceIn
	if expires {
		window, from, to = expiryIn.String(), expiryIn-expiryGap, expiryIn+expiryGap
	}
	s.Input = tidegatetest.BatchInput(w.t, s.Lines, func(i int) string {
		prompt := fmt.Sprintf("History %s, line %d?", s.Name, i)
		if expires && i == 0 { // so that it ends at about that time
			prompt += fmt.Sprintf(" [[sim:slow=%s]]", between(c.wishes, from, to))
		}
		return prompt
	})
	b, ok := c.begin(s, window)
	var others []*session
	var racing sync.WaitGroup
	for i := range 1 + c.wishes.IntN(racers) {
		if !ok {
			break
		}
		other := &session{Name: fmt.Sprintf("%s-r%d", name, i)}
		others = append(others, other)
		racer := &client{world: w, wishes: newChance(c.wishes), random: newChance(c.random)}
		moment := between(racer.wishes, from, to)
		racing.Go(func() {
			<-time.After(moment) // of the race
			racer.meddle(other, "/v1/batches/"+b.ID)
		})
	}
	if ok && c.follow(s, &b, never) {
		c.fetch(s, b)
	}
	racing.Wait()
	if ok {
		c.ask(s, http.MethodGet, "/v1/batches/"+b.ID, "", nil, nil)
	}
	end, problems := c.settle(s, others, b.ID)
	w.report(problems...)
	w.over(s)
	return end
}

// meddle sends a request about another client's batch.
func (c *client) meddle(s *session, path string) {
	switch c.wishes.IntN(4) {
	case 0, 1:
		c.ask(s, http.MethodPost, path+"/cancel", "", nil, nil)
	case 2:
		c.ask(s, http.MethodDelete, path, "", nil, nil)
	}
	c.ask(s, http.MethodGet, path, "", nil, nil)
}

// settle compares the responses that all clients got about a batch with the final state on
// each gateway.
func (c *client) settle(s *session, others []*session, id string) (end string, problems []string) {
	complain := func(format string, args ...any) {
		problems = append(problems, s.Name+": "+fmt.Sprintf(format, args...))
	}
	states := make(map[string]bool) // terminal
	deleted, cancelled := false, false
	for _, heard := range append([]*session{s}, others...) {
		if heard.Unanswered != "" {
			complain("no gateway answered %s", heard.Unanswered)
		}
		for _, t := range heard.Told {
			switch {
			case t.Method == http.MethodDelete:
				deleted = deleted || t.Status == http.StatusOK
			case t.Status == http.StatusOK && strings.HasPrefix(t.Path, "/v1/batches"):
				var b openai.Batch
				if err := json.Unmarshal(t.Body, &b); err != nil {
					complain("%v: %s", err, t.Body)
				}
				if rank[b.Status] == ended {
					states[b.Status] = true
				}
				cancelled = cancelled || strings.HasSuffix(t.Path, "/cancel")
			}
		}
	}
	last := &session{Name: s.Name}
	for _, g := range c.world.gateways {
		if !c.askOf(last, g, http.MethodGet, "/v1/batches/"+id) {
			complain("no gateway answered %s", last.Unanswered)
			continue
		}
		t := last.Told[len(last.Told)-1]
		var b openai.Batch
		if (t.Status == http.StatusNotFound) != deleted || t.Status == http.StatusOK && (json.Unmarshal(t.Body, &b) != nil || !states[b.Status]) {
			complain("in the end %s says %d %s, deleted %t, seen as %v", g.URL, t.Status, t.Body, deleted, slices.Collect(maps.Keys(states)))
		}
	}
	if len(states) > 1 || cancelled && len(states) == 1 && !states["cancelled"] {
		complain("it ended in the states %v; a cancel was accepted: %t", slices.Collect(maps.Keys(states)), cancelled)
	}
	if deleted {
		return "deleted", problems
	}
	for state := range states {
		return state, problems
	}
	complain("it never ended")
	return "never", problems
}

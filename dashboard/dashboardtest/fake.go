// Package dashboardtest is an in-memory source for the dashboard: a gateway with a day of
// history, some problems, and configurable texts of users. Tests of handlers and of browsers
// use it.
package dashboardtest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/dashboard"
	"github.com/tidegate/tidegate/internal/openai"
)

// Fake is the gateway.
type Fake struct {
	// Clock returns the current time. Set it before use.
	Clock func() time.Time
	// Say converts a word to the text of users, clients and servers: the
	// identity, or an injection attempt. Set it before use.
	Say func(plain string) string

	mu        sync.Mutex
	batches   []*dashboard.BatchDetail // guarded by mu; the newest first
	files     []dashboard.File         // guarded by mu; the newest first
	upstreams []dashboard.Upstream     // guarded by mu
	contents  map[string]string        // guarded by mu; of uploaded files
	done      []string                 // guarded by mu; actions, as "pause batch_1"
	failing   error                    // guarded by mu; of all methods
	reads     int                      // guarded by mu; of Now
	made      int                      // guarded by mu; ids given
	problems  bool                     // guarded by mu
	keys      []access.Key             // guarded by mu; the newest first
	secrets   int                      // guarded by mu; secrets of keys that were made
	size      int64                    // guarded by mu; number of copies of each object, 0 for none
}

// New makes a gateway with a history that ends at now.
func New(now func() time.Time, say func(string) string) *Fake {
	if say == nil {
		say = func(plain string) string { return plain }
	}
	f := &Fake{Clock: now, Say: say, contents: make(map[string]string), problems: true, size: 1}
	f.fill()
	f.fillKeys()
	return f
}

// Source returns the dashboard's source.
func (f *Fake) Source() dashboard.Source {
	return dashboard.Source{
		Overview: overview{f}, Throughput: throughput{f}, Usage: usage{f}, Limits: clientLimits{f}, Batches: batches{f},
		Files: files{f}, Upstreams: pool{f}, Doctor: checks{f}, Audit: auditLog{f}, Keys: keyService{f}, Webhooks: hooks{f},
	}
}

// FailWith makes every method fail, until it is called with nil.
func (f *Fake) FailWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = err
}

// Calm takes all problems away.
func (f *Fake) Calm() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = false
}

// Clear leaves a gateway that was never used and has no server.
func (f *Fake) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches, f.files, f.upstreams, f.problems, f.size = nil, nil, nil, false, 0
}

// Keep forgets all batches but the newest, and the files of those forgotten.
func (f *Fake) Keep(newest int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = f.batches[:min(newest, len(f.batches))]
	f.files = slices.DeleteFunc(f.files, func(file dashboard.File) bool {
		return !slices.ContainsFunc(f.batches, func(b *dashboard.BatchDetail) bool { return slices.Contains(file.Use.Latest, b.ID) })
	})
}

// AddUpstreams adds copies of the servers up to a number.
func (f *Fake) AddUpstreams(upTo int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 0; len(f.upstreams) < upTo; i++ {
		u := f.upstreams[i]
		u.URL = f.Say(fmt.Sprintf("http://vllm-%d.gpu.internal:8000", len(f.upstreams)))
		f.upstreams = append(f.upstreams, u)
	}
}

// Grow makes everything that is counted larger.
func (f *Fake) Grow(times int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size *= times
	for _, b := range f.batches {
		b.Counts = openai.RequestCounts{Total: b.Counts.Total * times, Completed: b.Counts.Completed * times, Failed: b.Counts.Failed * times}
		b.Usage.InputTokens *= times
		b.Usage.OutputTokens *= times
		b.Usage.InputTokensDetails.CachedTokens *= times
		b.InFlight *= times
		b.LineRate *= float64(times)
		b.InputBytes *= times
		b.OutputBytes *= times
		for i := range b.Failures.Groups {
			b.Failures.Groups[i].Lines *= times
		}
		for i := range b.History {
			p := &b.History[i]
			p.Completed, p.Failed = p.Completed*times, p.Failed*times
		}
	}
	for i := range f.files {
		f.files[i].Bytes *= times
	}
	for i := range f.upstreams {
		u := &f.upstreams[i]
		u.LiveInFlight, u.BatchInFlight, u.OthersInFlight = u.LiveInFlight*int(times), u.BatchInFlight*int(times), u.OthersInFlight*int(times)
		u.BatchSlots *= int(times)
		u.BatchLimit, u.MaxNumSeqs = u.BatchLimit*int(times), u.MaxNumSeqs*int(times)
		u.Running, u.Waiting = u.Running*float64(times), u.Waiting*float64(times)
		u.Requests, u.Failures = u.Requests*times, u.Failures*times
		u.Recent.Requests, u.Recent.Failures = u.Recent.Requests*times, u.Recent.Failures*times
	}
}

// Done are the actions so far.
func (f *Fake) Done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.done)
}

// Reads returns the number of calls of Now.
func (f *Fake) Reads() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// IDs returns the ids of all batches, the newest first.
func (f *Fake) IDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := make([]string, 0, len(f.batches))
	for _, b := range f.batches {
		ids = append(ids, b.ID)
	}
	return ids
}

// FileIDs returns the ids of all files, the newest first.
func (f *Fake) FileIDs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := make([]string, 0, len(f.files))
	for _, file := range f.files {
		ids = append(ids, file.ID)
	}
	return ids
}

// Change changes a batch.
func (f *Fake) Change(id string, change func(*dashboard.BatchDetail)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.batches {
		if b.ID == id {
			change(b)
		}
	}
}

// begin locks mu, records an action, and reports whether all actions fail now.
func (f *Fake) begin(action ...string) (unlock func(), err error) {
	f.mu.Lock()
	if f.failing != nil {
		defer f.mu.Unlock()
		return nil, f.failing
	}
	if len(action) > 0 {
		f.done = append(f.done, strings.Join(action, " "))
	}
	return f.mu.Unlock, nil
}

// find returns a batch. mu is held.
func (f *Fake) find(id string) (*dashboard.BatchDetail, error) {
	for _, b := range f.batches {
		if b.ID == id {
			return b, nil
		}
	}
	return nil, fmt.Errorf("finding batch: %w", batch.ErrNotFound)
}

// id returns an id as the gateway's are. mu is held.
func (f *Fake) id(prefix string) string {
	f.made++
	return fmt.Sprintf("%s%032x", prefix, 0x6a1fd0c3b2e94785+uint64(f.made)*0x9e3779b97f4a7c15)
}

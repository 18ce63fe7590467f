package dashboard

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/upstreams"
)

// broadcaster reads the state once per interval while any page is open, and passes
// each reading to all viewers. It starts with the first viewer and stops with the
// last; close ends it permanently.
type broadcaster struct {
	read     func(context.Context) (Now, error)
	interval time.Duration
	limit    int // of viewers
	clock    func() time.Time

	ctx  context.Context // ends with close; readings are shared, so that no viewer's context can be used
	stop context.CancelFunc
	work sync.WaitGroup // loops and the viewers' work

	mu      sync.Mutex
	viewers map[*viewer]struct{} // guarded by mu
	quit    context.CancelFunc   // guarded by mu; stops the running loop, nil if none runs
	closed  bool                 // guarded by mu

	reading sync.Mutex // one reading at a time; guards latest and count
	latest  *snapshot
	count   int64
}

// viewer is an open page.
type viewer struct {
	// news contains the newest snapshot that the viewer has not received: a slow
	// viewer skips those in between.
	news chan *snapshot
}

// snapshot is one reading, and the pages rendered from it, which viewers of the same
// page share.
type snapshot struct {
	number int64 // increasing
	at     time.Time
	now    Now
	err    error // of the reading

	// client is the viewer whose view now is: see as. The zero value has no limits.
	client access.Identity

	ctx   context.Context // the broadcaster's
	mu    sync.Mutex
	pages map[string]*rendered // guarded by mu
}

type rendered struct {
	once     sync.Once
	sections []section
	err      error
}

// as returns the snapshot as a client sees it: without the models that it may not use. All
// pages are rendered from such a view.
func (s *snapshot) as(client access.Identity) *snapshot {
	if len(client.Models) == 0 {
		return s
	}
	return &snapshot{number: s.number, at: s.at, now: s.now.visible(client), err: s.err, client: client, ctx: s.ctx}
}

// visible returns the state as a client sees it.
func (n Now) visible(client access.Identity) Now {
	n.Upstreams = slices.Clone(n.Upstreams)
	for i := range n.Upstreams {
		n.Upstreams[i].UpstreamStatus = n.Upstreams[i].For(client)
	}
	n.Waiting = upstreams.VisibleQueues(client, n.Waiting)
	n.Prices = upstreams.VisiblePrices(client, n.Prices)
	n.Paused = access.Visible(client, n.Paused, func(p engine.Problem) string { return p.Model })
	n.Problems = access.Visible(client, n.Problems, func(p Problem) string { return p.Model })
	return n
}

func newBroadcaster(read func(context.Context) (Now, error), interval time.Duration, limit int) *broadcaster {
	ctx, stop := context.WithCancel(context.Background())
	return &broadcaster{
		read: read, interval: interval, limit: limit, clock: time.Now,
		ctx: ctx, stop: stop, viewers: make(map[*viewer]struct{}),
	}
}

// readTimeout limits a reading.
const readTimeout = 5 * time.Second

// current returns the latest snapshot if it is at most an interval old, and takes one
// otherwise.
func (b *broadcaster) current() *snapshot {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.latest != nil && b.clock().Sub(b.latest.at) < b.interval {
		return b.latest
	}
	return b.takeLocked()
}

// outdate makes the next page see the latest changes.
func (b *broadcaster) outdate() {
	b.reading.Lock()
	defer b.reading.Unlock()
	b.latest = nil
}

func (b *broadcaster) take() *snapshot {
	b.reading.Lock()
	defer b.reading.Unlock()
	return b.takeLocked()
}

func (b *broadcaster) takeLocked() *snapshot {
	ctx, cancel := context.WithTimeout(b.ctx, readTimeout)
	defer cancel()
	b.count++
	s := &snapshot{number: b.count, ctx: b.ctx, pages: make(map[string]*rendered)}
	s.now, s.err = b.read(ctx)
	s.at = b.clock()
	b.latest = s
	return s
}

// join adds a viewer, which gets the next snapshot. It returns false if there are too
// many or the broadcaster is closed.
func (b *broadcaster) join() (*viewer, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || len(b.viewers) >= b.limit {
		return nil, false
	}
	v := &viewer{news: make(chan *snapshot, 1)}
	b.viewers[v] = struct{}{}
	b.work.Add(1) // until leave
	if b.quit == nil {
		var ctx context.Context
		ctx, b.quit = context.WithCancel(b.ctx)
		b.work.Go(func() { b.loop(ctx) })
	}
	return v, true
}

// leave removes a viewer. It must be called once for each join.
func (b *broadcaster) leave(v *viewer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.viewers, v)
	if len(b.viewers) == 0 {
		b.quit()
		b.quit = nil
	}
	b.work.Done()
}

// loop reads and distributes snapshots until ctx ends.
func (b *broadcaster) loop(ctx context.Context) {
	ticker := time.NewTicker(b.interval)
	defer ticker.Stop()
	for {
		b.offer(ctx, b.take())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// offer passes a snapshot to all viewers without blocking. A loop that was stopped
// passes nothing: another one may be running.
func (b *broadcaster) offer(ctx context.Context, s *snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	for v := range b.viewers {
		select {
		case <-v.news: // not received, and outdated now
		default:
		}
		v.news <- s // only loops send, under mu
	}
}

// close stops the loop, disconnects viewers and waits for them.
func (b *broadcaster) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.work.Wait()
}

// page renders the sections of a page once per snapshot, for the first viewer that
// needs them.
func (s *snapshot) page(key string, render func(context.Context) ([]section, error)) ([]section, error) {
	s.mu.Lock()
	p := s.pages[key]
	if p == nil {
		p = new(rendered)
		s.pages[key] = p
	}
	s.mu.Unlock()
	p.once.Do(func() {
		ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
		defer cancel()
		p.sections, p.err = render(ctx)
	})
	return p.sections, p.err
}

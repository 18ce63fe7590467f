package dashboard

import (
	"context"
	"sync"
	"time"
)

// broadcaster reads how things are once per interval while somebody looks, and
// hands each reading to all viewers. It starts with the first viewer and stops
// with the last; close ends it for good.
type broadcaster struct {
	read     func(context.Context) (Now, error)
	interval time.Duration
	limit    int // of viewers
	clock    func() time.Time

	ctx  context.Context // ends with close; readings are shared, so no viewer's will do
	stop context.CancelFunc
	work sync.WaitGroup // loops and what viewers do

	mu      sync.Mutex
	viewers map[*viewer]struct{} // guarded by mu
	quit    context.CancelFunc   // guarded by mu; of the loop that runs, nil when none does
	closed  bool                 // guarded by mu

	reading sync.Mutex // one reading at a time; guards latest and count
	latest  *snapshot
	count   int64
}

// viewer is somebody who looks at a page.
type viewer struct {
	// news has the newest snapshot that the viewer has not taken: one who is
	// slow passes over those in between.
	news chan *snapshot
}

// snapshot is one reading, and what was made of it for pages. Viewers of the
// same page share that too.
type snapshot struct {
	number int64 // counts up
	at     time.Time
	now    Now
	err    error // of the reading

	ctx   context.Context // the broadcaster's
	mu    sync.Mutex
	pages map[string]*rendered // guarded by mu
}

type rendered struct {
	once     sync.Once
	sections []section
	err      error
}

func newBroadcaster(read func(context.Context) (Now, error), interval time.Duration, limit int) *broadcaster {
	ctx, stop := context.WithCancel(context.Background())
	return &broadcaster{
		read: read, interval: interval, limit: limit, clock: time.Now,
		ctx: ctx, stop: stop, viewers: make(map[*viewer]struct{}),
	}
}

// readTimeout is how long a reading may take.
const readTimeout = 5 * time.Second

// current gives the latest snapshot if it is no older than an interval, and
// takes one otherwise.
func (b *broadcaster) current() *snapshot {
	b.reading.Lock()
	defer b.reading.Unlock()
	if b.latest != nil && b.clock().Sub(b.latest.at) < b.interval {
		return b.latest
	}
	return b.takeLocked()
}

// outdate has the next page see what was changed just now.
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

// join adds a viewer, who gets the next snapshot. It is false when there are
// too many already or the broadcaster is closed.
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

// leave takes a viewer away. Each viewer who joined leaves once.
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

// loop reads and hands out until ctx ends.
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

// offer gives a snapshot to all viewers and waits for none. A loop that was
// told to quit gives nothing more: there may be another already.
func (b *broadcaster) offer(ctx context.Context, s *snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	for v := range b.viewers {
		select {
		case <-v.news: // never taken, and out of date now
		default:
		}
		v.news <- s // only loops send, under mu
	}
}

// close ends the loop, sends viewers away and waits until they are gone.
func (b *broadcaster) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.stop()
	b.work.Wait()
}

// page makes the sections of a page once per snapshot, whoever asks first.
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

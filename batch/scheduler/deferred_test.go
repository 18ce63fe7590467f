package scheduler

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// sharedRequest returns a request of about size bytes that shares a prefix with others of
// its group.
func sharedRequest(group, number, size int) openai.Request {
	body := fmt.Sprintf(`{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"%s %d"}]}`, strings.Repeat(fmt.Sprintf("group %d ", group), size/8), number)
	return openai.Request{CustomID: fmt.Sprint(number), Model: "m", Body: []byte(body)}
}

// deferredSlice adds a slice of n lines whose requests of about size bytes are deferred.
func deferredSlice(s *queueSet, id string, number, n, size int) *work {
	return addSlice(s, id, number, n, func(w *work, i int) *line {
		request := sharedRequest(i%3, number*n+i, size)
		return deferredLine(w, i, &request)
	})
}

// TestDeferredBytes measures the memory of lines whose requests are deferred: it is what is
// counted. It finds requests that are kept, and lines that grow.
func TestDeferredBytes(t *testing.T) {
	const slices, lines, size = 400, batch.SliceLines, 8 << 10
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	s := newQueueSet(unlimited)
	before := heap()
	for n := range slices {
		deferredSlice(s, "a", n, lines, size)
	}
	got := (heap() - before) / (slices * lines)
	t.Logf("%d bytes for each line", got)
	if got > deferredBytes || got < deferredBytes*2/3 {
		t.Errorf("got %d bytes for each line, want about the %d that count", got, deferredBytes)
	}
	if want := int64(deferredBytes * slices * lines); s.budget.used.keys != want {
		t.Errorf("got %d bytes counted, want %d", s.budget.used.keys, want)
	}
	runtime.KeepAlive(s)
}

// startNext starts the next line, without an attempt. It returns nil if no line can start.
func startNext(s *Scheduler) *line {
	s.picker.beginRound()
	l, slot := s.picker.next(map[string]bool{}, func(string, error) {})
	if l == nil {
		return nil
	}
	l.become(lineRunning)
	l.tries().abort = func() {}
	l.work.batchQueue.begin("m", 1)
	s.inFlight++
	s.queues.read(l, l.reads())
	s.picker.started(l, slot.Upstream())
	return l
}

// TestDeferredAccounts checks what counts as memory of a line whose request is deferred, from
// the load of its slice to its end or the loss of its claim, and while it runs.
func TestDeferredAccounts(t *testing.T) {
	d := dependencies(batch.Config{MemoryBytes: 10_000})
	d.Dispatcher = &slotPool{slots: map[string]int{"m": 100}}
	s := New(d)
	w := deferredSlice(s.queues, "a", 1, 4, 4000)
	other := deferredSlice(s.queues, "a", 2, 4, 4000)
	size := int64(w.lines[0].size)
	want := func(when string, deferred, running int64) {
		t.Helper()
		if got := s.queues.budget.used.bytes(); got != deferred*deferredBytes+running*size {
			t.Errorf("%s: got %d bytes, want %d lines and %d requests", when, got, deferred, running)
		}
	}
	want("loaded", 8, 0)
	var started []*line
	begin := func() bool {
		l := startNext(s)
		if l != nil {
			started = append(started, l)
		}
		return l != nil
	}
	for begin() {
	}
	if len(started) != 1 || !w.batchQueue.noRoom {
		t.Fatalf("got %d lines of %d bytes in %d bytes of memory, no room %v, want 1, true", len(started), size, 10_000, w.batchQueue.noRoom)
	}
	want("one runs", 8, 1)
	if q := w.batchQueue; q.nPending != 7 || q.running != 1 {
		t.Errorf("got %d pending, %d running, want 7, 1", q.nPending, q.running)
	}
	s.attempted(started[0], outcome{done: true})
	want("its attempt has ended", 8, 0)
	s.queues.committed(started[0])
	want("it is durable", 7, 0)
	if !begin() {
		t.Fatal("no line starts when there is room again")
	}
	dropped, stays := started[1].work, w
	if dropped == w {
		stays = other
	}
	s.queues.dropWork(dropped)
	want("the slice of the line that runs was lost", int64(stays.pending), 1)
	s.attempted(started[1], outcome{aborted: true})
	want("it was aborted", int64(stays.pending), 0)
	s.queues.dropBatch(w.batchQueue)
	want("nothing is left", 0, 0)
	if q := w.batchQueue; s.queues.budget.used != (holding{}) || q.held != (holding{}) {
		t.Errorf("got %+v and %+v held, want nothing", s.queues.budget.used, q.held)
	}
}

// TestDurableLinesAreFreed checks that nothing refers to what counted of a line once it is
// durable, while other lines of its slice wait: the line itself if its request is deferred, and
// the request otherwise. It finds memory that is in use and does not count.
func TestDurableLinesAreFreed(t *testing.T) {
	for name, tt := range map[string]struct{ deferred, shared bool }{
		"deferred": {true, true}, "in memory": {false, true}, "in memory, nothing shared": {false, false},
	} {
		d := dependencies(batch.Config{})
		d.Dispatcher = &slotPool{slots: map[string]int{"m": 100}}
		s := New(d)
		w := addSlice(s.queues, "a", 1, batch.SliceLines, func(w *work, i int) *line {
			group := 1
			if !tt.shared {
				group += i
			}
			request := sharedRequest(group, i, 1000)
			if tt.deferred {
				return deferredLine(w, i, &request)
			}
			return newLine(w, i, request)
		})
		var freed []func() bool
		for range batch.SliceLines / 2 {
			l := startNext(s)
			line, request := weak.Make(l), weak.Make(l.request)
			freed = append(freed, func() bool {
				if tt.deferred {
					return line.Value() == nil
				}
				return request.Value() == nil
			})
			s.attempted(l, outcome{done: true, result: batch.LineResult{Usage: openai.Usage{OutputTokens: 10}}, upstream: "u"})
			s.queues.committed(l)
		}
		runtime.GC()
		kept := 0
		for _, is := range freed {
			if !is() {
				kept++
			}
		}
		if kept > 0 {
			t.Errorf("%s: %d of %d durable lines are in memory, want none", name, kept, len(freed))
		}
		if s.queues.held() != batch.SliceLines/2 || w.dropped {
			t.Errorf("%s: got %d lines that wait, want half of %d", name, s.queues.held(), batch.SliceLines)
		}
	}
}

// TestOneLineAlwaysFits checks that a line starts that is larger than the memory limit.
func TestOneLineAlwaysFits(t *testing.T) {
	d := dependencies(batch.Config{MemoryBytes: 1000})
	d.Dispatcher = &slotPool{slots: map[string]int{"m": 1}}
	s := New(d)
	deferredSlice(s.queues, "a", 1, 4, 4000)
	if l, _ := s.picker.next(map[string]bool{}, func(string, error) {}); l == nil {
		t.Error("got no line, want one")
	}
}

// TestWindow checks how many lines of a batch are prefetched.
func TestWindow(t *testing.T) {
	for name, tt := range map[string]struct {
		size              int // of a request
		memory            int64
		total             int64 // lines of the batch
		gateways, sharers int
		shares            bool
		others            int64 // bytes of keys of other batches
		want              int64 // lines; negative: as many as have their requests in memory
	}{
		"nothing is shared":                    {8 << 10, 64 << 20, 50_000, 1, 1, false, 0, 0},
		"all that is left":                     {8 << 10, 64 << 20, 30_000, 1, 1, true, 0, 30_000},
		"two gateways leave most to the other": {8 << 10, 64 << 20, 30_000, 2, 1, true, 0, 7500},
		"as much as memory permits":            {8 << 10, 4 << 20, 50_000, 1, 1, true, 0, (1 << 20) / deferredBytes},
		"the half of that for each of two":     {8 << 10, 4 << 20, 50_000, 1, 2, true, 0, (1 << 19) / deferredBytes},
		"short requests stay in memory":        {300, 4 << 20, 50_000, 1, 1, true, 0, -1},
		"other batches leave some":             {8 << 10, 4 << 20, 50_000, 1, 2, true, 3 << 18, (1 << 18) / deferredBytes},
		"other batches leave nothing":          {8 << 10, 4 << 20, 50_000, 1, 2, true, 1 << 20, -1},
		"as many slices as are searched":       {8 << 10, 200 << 20, 1_000_000, 1, 1, true, 0, windowSlices * 30},
	} {
		q := newBatchQueue(batch.Batch{ID: "a"})
		q.batch.Counts.Total = tt.total
		s := newQueueSet(func() int64 { return tt.memory })
		s.byID["a"] = q
		s.budget.add(newBatchQueue(batch.Batch{}), holding{keys: tt.others})
		for n := range 3 {
			w := &work{batchQueue: q, left: 30}
			w.Number = n
			for i := range 30 {
				group := i % 3
				if !tt.shares {
					group = 1000 + 30*n + i
				}
				w.lines = append(w.lines, newLine(w, i, sharedRequest(group, i, tt.size)))
			}
			s.add(q, w)
		}
		d := dependencies(batch.Config{MemoryBytes: tt.memory})
		d.Gateways = func() int { return tt.gateways }
		want := tt.want
		if want < 0 {
			want = tt.memory / 2 / int64(tt.sharers) * q.linesRead / q.bytesRead
		}
		if got := q.window(&d, &s.budget, tt.sharers); int64(got) != want {
			t.Errorf("%s: got %d lines, want %d", name, got, want)
		}
	}
}

// TestInputOutage checks that after a failed read nothing starts for a while, then one line
// until it is known whether it can be read.
func TestInputOutage(t *testing.T) {
	s := newQueueSet(unlimited)
	w, resident := deferredSlice(s, "a", 1, 2, 100), loadedSlice(s, "b", 1, 1, 10)
	now := time.Now()
	var o inputOutage
	check := func(when string, after time.Duration, want bool) {
		t.Helper()
		if got := o.holds(now.Add(after)); got != want {
			t.Errorf("%s: got %v, want %v", when, got, want)
		}
	}
	check("without an error", 0, false)
	if o.begins(w.lines[0]) {
		t.Error("a line is a trial although there is no outage")
	}
	o.err, o.until = errors.New("away"), now.Add(batchBackoff)
	check("after the failure", batchBackoff-1, true)
	check("after the pause", batchBackoff, false)
	if o.begins(resident.lines[0]) || !o.begins(w.lines[0]) {
		t.Error("the trial is not the first line that is read")
	}
	check("while the trial is read", time.Hour, true)
	o.ended(w.lines[1])
	check("after the end of another line", time.Hour, true)
	o.ended(w.lines[0])
	check("after its end", time.Hour, false)
}

// TestDivide checks which lines are released to idle peers of slices that have lines that were
// tried, and that the slice can be claimed again beside the lines that are kept.
func TestDivide(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		kept   bool // by a peer
		shares bool
		want   []uint64 // masks of the kept lines
	}{
		"lines share prefixes":     {shares: true, want: []uint64{0, 1<<1 | 1<<2 | 1<<3}},
		"nothing is shared":        {want: []uint64{0}},
		"a peer keeps lines of it": {shares: true, kept: true, want: []uint64{0}},
	} {
		s := newQueueSet(unlimited)
		var w *work
		if tt.shares {
			deferredSlice(s, "a", 2, batch.SliceLines, 1000)
			w = deferredSlice(s, "a", 1, batch.SliceLines, 1000)
		} else {
			loadedSlice(s, "a", 2, batch.SliceLines, 1000)
			w = loadedSlice(s, "a", 1, batch.SliceLines, 1000)
		}
		q := w.batchQueue
		if tt.kept {
			w.lines[9].become(lineEnded)
			w.Kept, w.lines, w.left = 1<<9, slices.Delete(w.lines, 9, 10), batch.SliceLines-1
		}
		for i, state := range map[int]lineState{1: lineRunning, 2: lineFinished, 3: lineRunning, 4: lineEnded} {
			w.lines[i].become(state)
		}
		w.lines[1].tries().abort = func() {}
		w.lines[3].tries().failures = 1
		s.free(w.lines[4])
		q.sweep()
		q.pushFront(w.lines[3])
		q.peersIdle.set(true, now.Add(-peerIdleTime))
		r := releases{queues: s}
		r.rebalance(q, 0, now)
		var got []uint64
		for _, release := range releasesOf(&r) {
			got = append(got, release.Keep)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got the masks %b, want %b", name, got, tt.want)
		}
		if left := bits.OnesCount64(tt.want[len(tt.want)-1]); left > 0 && (w.left != left || !w.partial || w.holds().bytes() != int64(left)*deferredBytes || q.nPending != 1) {
			t.Errorf("%s: got %d lines, %d bytes, %d pending, partial %v, want %d, %d, 1, true", name, w.left, w.holds().bytes(), q.nPending, w.partial, left, left*deferredBytes)
		}
		again := &work{batchQueue: q}
		again.SliceClaim = w.SliceClaim
		again.Attempt++
		s.add(q, again)
		l := leases{queues: s}
		until := now.Add(time.Minute)
		l.renewed(s.claims(), until)
		if !w.until.Equal(until) || !again.until.Equal(until) {
			t.Errorf("%s: renewed until %s and %s, want %s", name, w.until, again.until, until)
		}
		l.lost([]batch.SliceClaim{w.SliceClaim}, func(batch.SliceClaim) {})
		if !w.dropped || again.dropped {
			t.Errorf("%s: after the loss of the first claim: got dropped %v and %v, want true, false", name, w.dropped, again.dropped)
		}
	}
}

// TestUnroutableIsDivided checks that a gateway whose servers of a model are away keeps only the
// tried lines of slices whose lines share prefixes: each of them soon has one.
func TestUnroutableIsDivided(t *testing.T) {
	const slices, tried = 100, 3
	s := New(dependencies(batch.Config{}))
	for n := range slices {
		failOnce(deferredSlice(s.queues, "a", n, batch.SliceLines, 2000).lines[tried])
	}
	q := s.queues.byID["a"]
	now := time.Now()
	q.stalled.set(true, now.Add(-2*stallTime))
	s.models.unroutable["m"] = true
	if !s.releases.unroutable(q, s.models, now) {
		t.Fatal("nothing was released")
	}
	released := releasesOf(s.releases)
	for _, r := range released {
		if r.Keep != 1<<tried {
			t.Errorf("slice %d: got the mask %b, want %b", r.Number, r.Keep, 1<<tried)
		}
	}
	if len(released) != slices || q.nPending != slices {
		t.Errorf("got %d slices released, %d lines that wait, want %d of each", len(released), q.nPending, slices)
	}
}

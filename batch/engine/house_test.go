package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/batch/files/local"
	"github.com/tidegate/tidegate/batch/queue/memory"
	"github.com/tidegate/tidegate/batch/store/sqlite"
	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = batch.DefaultTenant

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// house is an engine with real drivers in a directory, and a pool that the
// test plays.
type house struct {
	t      testing.TB
	dir    string
	cfg    batch.Config
	pool   *fakePool
	store  *hookedStore
	door   *door // to a shared store
	engine *engine.Engine
	queue  func() batch.Queue
}

func newHouse(t testing.TB, cfg batch.Config) *house {
	t.Helper()
	if cfg.RetryBackoffMin == 0 {
		cfg.RetryBackoffMin, cfg.RetryBackoffMax = time.Millisecond, 2*time.Millisecond
	}
	h := &house{t: t, dir: t.TempDir(), cfg: cfg, pool: newFakePool(), queue: func() batch.Queue { return memory.New() }}
	return h
}

// open starts an engine on the directory.
func (h *house) open() {
	h.t.Helper()
	h.store = &hookedStore{Store: sqlite.New(sqlite.Config{Path: h.dir + "/tidegate.db"}), ended: make(chan string, 1000)}
	h.engine = engine.NewEngine(h.cfg, h.store, h.queue(), local.New(local.Config{Dir: h.dir + "/files"}), h.pool, zap.NewNop())
	if err := h.engine.Open(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	h.engine.Start()
	engine := h.engine
	h.t.Cleanup(func() {
		if h.engine == engine { // not closed by the test
			h.close(0)
		}
	})
}

// close stops the engine, giving lines that run some time to finish.
func (h *house) close(drain time.Duration) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), drain)
	defer cancel()
	if err := h.engine.Stop(ctx); err != nil {
		h.t.Errorf("stopping: %v", err)
	}
	h.engine = nil
}

// files serves uploads on the engine's store and files.
func (h *house) files() *upload.Service {
	return &upload.Service{Store: h.engine.Store(), Files: h.engine.Files()}
}

func (h *house) upload(content string) string {
	h.t.Helper()
	in, err := h.files().Begin(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		if err := in.Abort(); err != nil {
			h.t.Error(err)
		}
	}()
	if _, err := io.Copy(in, strings.NewReader(content)); err != nil {
		h.t.Fatal(err)
	}
	f, err := in.Commit(h.t.Context(), tenant, upload.CommitRequest{Filename: "in.jsonl", Purpose: openai.PurposeBatch})
	if err != nil {
		h.t.Fatal(err)
	}
	return f.ID
}

func (h *house) create(fileID string) string {
	h.t.Helper()
	return h.createFor(fileID, 24*time.Hour)
}

func (h *house) createFor(fileID string, window time.Duration) string {
	h.t.Helper()
	b, err := h.engine.CreateBatch(h.t.Context(), tenant, batch.CreateRequest{
		InputFileID: fileID, Endpoint: "/v1/chat/completions", CompletionWindow: window.String(), Window: window,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return b.ID
}

func (h *house) get(id string) batch.Batch {
	h.t.Helper()
	b, err := h.engine.Batch(h.t.Context(), tenant, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// wait waits for the end of a batch.
func (h *house) wait(id string) batch.Batch {
	h.t.Helper()
	timeout := time.After(patience)
	for {
		if b := h.get(id); b.Status.Terminal() {
			return b
		}
		select {
		case <-h.store.ended:
		case <-timeout:
			h.t.Fatalf("batch did not end: %+v; health %+v", h.get(id), h.engine.Health(h.t.Context()))
		}
	}
}

// record is a line of an output or error file.
type record struct {
	CustomID string `json:"custom_id"`
	Response *struct {
		StatusCode int             `json:"status_code"`
		Body       json.RawMessage `json:"body"`
	} `json:"response"`
	Error *struct{ Code, Message string } `json:"error"`
}

func (h *house) read(fileID string) []record {
	h.t.Helper()
	if fileID == "" {
		return nil
	}
	_, content, err := batch.OpenFile(h.t.Context(), h.engine.Store(), h.engine.Files(), tenant, fileID)
	if err != nil {
		h.t.Fatal(err)
	}
	defer content.Close()
	var out []record
	for scanner := bufio.NewScanner(content); scanner.Scan(); {
		var r record
		if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
			h.t.Fatalf("line %q: %v", scanner.Text(), err)
		}
		out = append(out, r)
	}
	return out
}

// check asserts that every line of 0…n-1 stands exactly once, in order in each
// file, and that every success is the right answer. It returns the errors.
func (h *house) check(b batch.Batch, n int) []record {
	h.t.Helper()
	seen := make(map[string]int)
	previous := ""
	output, errs := h.read(b.OutputFileID), h.read(b.ErrorFileID)
	for _, r := range output {
		seen[r.CustomID]++
		if r.CustomID <= previous {
			h.t.Errorf("%s stands behind %s", r.CustomID, previous)
		}
		previous = r.CustomID
		if want := echo(r.CustomID); r.Response == nil || string(r.Response.Body) != want {
			h.t.Errorf("%s: got %+v, want %s", r.CustomID, r.Response, want)
		}
	}
	for _, r := range errs {
		seen[r.CustomID]++
	}
	for i := range n {
		if id := customID(i); seen[id] != 1 {
			h.t.Errorf("%s stands %d times in the results", id, seen[id])
		}
	}
	if len(seen) != n {
		h.t.Errorf("%d distinct custom_ids in the results, want %d", len(seen), n)
	}
	if int64(len(output)) != b.Counts.Completed {
		h.t.Errorf("%d lines of output, counted %d", len(output), b.Counts.Completed)
	}
	return errs
}

func customID(i int) string { return fmt.Sprintf("line-%05d", i) }

func echo(id string) string {
	return fmt.Sprintf(`{"echo":"%s","usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`, id)
}

func input(n int) string { return inputFor(n, "m") }

// inputFrom is n lines whose custom ids begin with that of line first.
func inputFrom(first, n int) string {
	all := inputFor(first+n, "m")
	return all[len(all)*first/(first+n):] // all lines are as long
}

func inputFor(n int, model string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"model":"%s","messages":[{"role":"user","content":"%s"}]}}`+"\n", customID(i), model, customID(i))
	}
	return b.String()
}

// hookedStore is the real store, with places for a test to step in.
type hookedStore struct {
	batch.Store
	ended    chan string
	commit   atomic.Pointer[func([]batch.SegmentWrite) error] // before a commit
	finish   atomic.Pointer[func(batch.BatchClaim) error]     // before a batch ends
	pause    atomic.Pointer[func() error]                     // before a pause
	results  atomic.Pointer[func()]                           // before results are read
	claims   atomic.Int64                                     // on batches, so far
	renewals atomic.Int64                                     // of claims on batches, so far
	looks    atomic.Int64                                     // at active batches, so far
	flow     atomic.Pointer[batch.ModelMinute]                // what got done before, nil: what the store has
}

func (s *hookedStore) Flow(ctx context.Context, since time.Time, limit int) ([]batch.ModelMinute, error) {
	m := s.flow.Load()
	switch {
	case m == nil:
		return s.Store.Flow(ctx, since, limit)
	case m.At.Before(since):
		return nil, nil
	}
	return []batch.ModelMinute{*m}, nil
}

func (s *hookedStore) ActiveBatches(ctx context.Context, limit int) ([]batch.Batch, error) {
	active, err := s.Store.ActiveBatches(ctx, limit)
	s.looks.Add(1)
	return active, err
}

func (s *hookedStore) Results(ctx context.Context, ref batch.SliceRef) ([]batch.LineResult, error) {
	if hook := s.results.Load(); hook != nil {
		(*hook)()
	}
	return s.Store.Results(ctx, ref)
}

func (s *hookedStore) PauseBatch(ctx context.Context, tenant, id, reason string) (batch.Batch, error) {
	if hook := s.pause.Load(); hook != nil {
		if err := (*hook)(); err != nil {
			return batch.Batch{}, err
		}
	}
	return s.Store.PauseBatch(ctx, tenant, id, reason)
}

func (s *hookedStore) ClaimBatch(ctx context.Context, owner string, lease time.Duration, task batch.Task) (batch.BatchClaim, error) {
	c, err := s.Store.ClaimBatch(ctx, owner, lease, task)
	if err == nil {
		s.claims.Add(1)
	}
	return c, err
}

func (s *hookedStore) RenewBatch(ctx context.Context, c batch.BatchClaim, lease time.Duration) error {
	err := s.Store.RenewBatch(ctx, c, lease)
	if err == nil {
		s.renewals.Add(1)
	}
	return err
}

func (s *hookedStore) FinishBatch(ctx context.Context, c batch.BatchClaim, o batch.Outcome) error {
	if hook := s.finish.Load(); hook != nil {
		if err := (*hook)(c); err != nil {
			return err
		}
	}
	err := s.Store.FinishBatch(ctx, c, o)
	s.ended <- c.Batch.ID
	return err
}

func (s *hookedStore) FailBatch(ctx context.Context, c batch.BatchClaim, f []openai.BatchError) error {
	err := s.Store.FailBatch(ctx, c, f)
	s.ended <- c.Batch.ID
	return err
}

func (s *hookedStore) CommitResults(ctx context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	if hook := s.commit.Load(); hook != nil {
		if err := (*hook)(writes); err != nil {
			return nil, err
		}
	}
	return s.Store.CommitResults(ctx, writes)
}

// fakePool is a pool of one upstream that the test plays.
type fakePool struct {
	freed chan struct{}
	looks atomic.Int64 // of the engine for what it can do

	mu       sync.Mutex
	slots    int                                                                  // guarded by mu
	models   map[string]bool                                                      // guarded by mu
	calls    map[string]int                                                       // guarded by mu; by custom id
	running  int                                                                  // guarded by mu
	most     int                                                                  // guarded by mu
	settled  bool                                                                 // guarded by mu
	idle     bool                                                                 // guarded by mu; other gateways are
	closed   *batch.Closing                                                       // guarded by mu; nil: lines may start at any time
	away     bool                                                                 // all servers are stopped and may be
	down     bool                                                                 // guarded by mu
	loading  bool                                                                 // guarded by mu; all servers are
	gone     map[string]bool                                                      // guarded by mu; models whose server is down
	busy     map[string]bool                                                      // guarded by mu; models whose server is full
	room     map[string]int                                                       // guarded by mu; slots left of a model that has not as many as it wants
	answer   func(ctx context.Context, id string, call int) (batch.Answer, error) // guarded by mu; nil: echo
	received chan string                                                          // if set, ids as they come
}

func newFakePool() *fakePool {
	return &fakePool{freed: make(chan struct{}, 1), slots: 1000, models: map[string]bool{"m": true}, calls: make(map[string]int), settled: true}
}

// inFlight is how many lines its pool has.
func (h *house) inFlight() int { h.pool.mu.Lock(); defer h.pool.mu.Unlock(); return h.pool.running }

func (p *fakePool) set(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	p.ring()
}

func (p *fakePool) ring() {
	select {
	case p.freed <- struct{}{}:
	default:
	}
}

func (p *fakePool) Capabilities() batch.DispatcherCapabilities {
	return batch.DispatcherCapabilities{Loads: p, Hours: p}
}

func (p *fakePool) Closed() (batch.Closing, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed == nil {
		return batch.Closing{}, false
	}
	return *p.closed, true
}

func (p *fakePool) Freed() <-chan struct{} { p.looks.Add(1); return p.freed }

func (p *fakePool) Loads() map[string]batch.Load                { return nil }
func (p *fakePool) SetPeers(batch.Peers, map[string]batch.Load) {}

func (p *fakePool) OthersIdle(string) bool { p.mu.Lock(); defer p.mu.Unlock(); return p.idle }

func (p *fakePool) Free(model string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refuses(model) == nil
}

// refuses tells why there is no slot. p.mu is held.
func (p *fakePool) refuses(model string) error {
	room, limited := p.room[model]
	switch {
	case p.away:
		return batch.ErrAway
	case p.loading:
		return batch.ErrLoading
	case p.down || p.gone[model]:
		return batch.ErrDown
	case p.running >= p.slots || p.busy[model] || limited && room == 0:
		return batch.ErrBusy
	}
	return nil
}

func (p *fakePool) Slots() int { p.mu.Lock(); defer p.mu.Unlock(); return p.slots }

func (p *fakePool) Serves(model string) (known, settled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.models[model], p.settled
}

func (p *fakePool) Closest(string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.models))
}

func (p *fakePool) Up(model string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return batch.ErrAway
	}
	if p.loading || !p.models[model] && !p.settled {
		return batch.ErrLoading
	}
	if p.down || p.gone[model] {
		return batch.ErrDown
	}
	return nil
}

func (p *fakePool) Reserve(model, _ string) (batch.Slot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refuses(model); err != nil {
		return nil, err
	}
	if _, limited := p.room[model]; limited {
		p.room[model]--
	}
	p.running++
	p.most = max(p.most, p.running)
	return &fakeSlot{p, model}, nil
}

type fakeSlot struct {
	pool  *fakePool
	model string
}

func (s *fakeSlot) Upstream() string { return "fake" }

func (s *fakeSlot) Release() {
	s.pool.set(func() {
		s.pool.running--
		if _, limited := s.pool.room[s.model]; limited {
			s.pool.room[s.model]++
		}
	})
}

func (s *fakeSlot) Send(ctx context.Context, path string, body []byte) (batch.Answer, error) {
	var request struct{ Messages []struct{ Content string } }
	if err := json.Unmarshal(body, &request); err != nil || path != "/v1/chat/completions" {
		return batch.Answer{}, fmt.Errorf("bad request to %s: %q: %w", path, body, err)
	}
	id := request.Messages[0].Content
	p := s.pool
	p.mu.Lock()
	p.calls[id]++
	call, answer, received := p.calls[id], p.answer, p.received
	p.mu.Unlock()
	if received != nil {
		received <- id
	}
	if answer != nil {
		return answer(ctx, id, call)
	}
	return ok(id), nil
}

func ok(id string) batch.Answer {
	return batch.Answer{Status: http.StatusOK, Header: http.Header{}, Body: []byte(echo(id))}
}

func status(code int, body string) batch.Answer {
	a := batch.Answer{Status: code, Header: http.Header{}, Body: []byte(body)}
	if code == http.StatusTooManyRequests || code >= http.StatusInternalServerError {
		a.Next = batch.Again
	}
	return a
}

func (p *fakePool) repeated() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, calls := range p.calls {
		n += calls - 1
	}
	return n
}

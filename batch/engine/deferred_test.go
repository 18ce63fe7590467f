package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// A deferred batch is one whose lines share prefixes, and whose requests do not fit into memory
// together: most of them are read again when their lines start.
const (
	deferredGroups, deferredLines = 20, 600
	deferredLine                  = 8 << 10 // bytes, about
	deferredMemory                = 1 << 20 // a fifth of the file; enough for what the order needs of all lines
	deferredLeft                  = 3       // slices of 20 that are claimed later, see batchQueue.enough
)

// deferredInput returns the lines of a deferred batch.
func deferredInput() string { return deferredInputOf(deferredLines) }

func deferredInputOf(lines int) string {
	var b strings.Builder
	for i := range lines {
		tools := strings.Repeat(fmt.Sprintf("tools of group %d; ", i*7%deferredGroups), deferredLine/19)
		id := batchtest.CustomID(i)
		fmt.Fprintf(&b, `{"custom_id":"%s","method":"POST","url":"/v1/chat/completions","body":{"model":"m","tools":"%s","messages":[{"role":"user","content":"%s"}]}}`+"\n", id, tools, id)
	}
	return b.String()
}

// group returns the group of a line of a deferred batch.
func group(id string) int {
	n := 0
	_, _ = fmt.Sscanf(id, "line-%d", &n)
	return n * 7 % deferredGroups
}

// countedFiles are files that count reads of single lines and of slices, and can fail them.
type countedFiles struct {
	batch.Files
	lines, slices atomic.Int64
	broken        atomic.Bool
	brokenAt      atomic.Int64 // the line of this read cannot be read; 0 for none
	unreadable    atomic.Int64 // where that line is
}

var errBroken = errors.New("disk is away")

func (f *countedFiles) Read(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if length > 0 && length < 2*deferredLine {
		if n, broken := f.lines.Add(1), f.brokenAt.Load(); n == broken {
			f.unreadable.Store(offset)
		}
		if f.broken.Load() || f.brokenAt.Load() > 0 && f.unreadable.Load() == offset && offset > 0 {
			return nil, errBroken
		}
	} else {
		f.slices.Add(1)
	}
	return f.Files.Read(ctx, key, offset, length)
}

// deferredHarness is a harness whose files are counted.
type deferredHarness struct {
	harness
	files *countedFiles
}

func newDeferredHarness(t *testing.T, cfg batch.Config) *deferredHarness {
	t.Helper()
	cfg.MemoryBytes = deferredMemory
	h := &deferredHarness{harness: newHarness(t, cfg)}
	h.open()
	return h
}

func (h *deferredHarness) open() {
	h.T.Helper()
	h.Store, h.files = batchtest.NewHookedStore(h.NewStore()), &countedFiles{Files: h.NewFiles()}
	started := batchtest.NewEngine(h.Config, h.Store, h.files, h.Pool)
	if err := started.Open(h.T.Context()); err != nil {
		h.T.Fatal(err)
	}
	started.Start()
	h.Adopt(started)
}

// create creates a deferred batch, and returns it when nearly all of its slices are claimed. No
// line has been sent then.
func (h *deferredHarness) create() string {
	h.T.Helper()
	h.Pool.Set(func() { h.Pool.Room = map[string]int{"m": 0} })
	id := h.Create(h.Upload(deferredInput()))
	batchtest.Until(h.T, "it is planned", func() bool { return h.Get(id).Status == batch.InProgress })
	batchtest.Until(h.T, "enough slices are claimed and read", func() bool {
		left, err := h.Store.ClaimableSlices(h.T.Context(), id, deferredLines)
		return err == nil && len(left) <= deferredLeft && h.taken() > 0
	})
	return id
}

// run lets lines start.
func (h *deferredHarness) run(slots int) {
	h.Pool.Set(func() { h.Pool.Room = map[string]int{"m": slots} })
}

func (h *deferredHarness) taken() int64 { return h.Engine.Capacity().Memory.Taken }

// TestOrdersMoreThanFits checks that a batch that is larger than the memory limit is ordered
// as a whole, that its requests are never all in memory, and that nothing of it stays there.
// It finds an order within what fits, requests that are kept and memory that is not counted.
func TestOrdersMoreThanFits(t *testing.T) {
	t.Parallel()
	const slots = 1 // the order is that of the starts
	h := newDeferredHarness(t, batch.Config{MaxInFlight: slots})
	var mu sync.Mutex
	changes, last, most := 0, -1, int64(0)
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, h.taken())
		if g := group(id); g != last {
			changes, last = changes+1, g
		}
		return batchtest.OK(id), nil
	}
	id := h.create()
	if taken := h.taken(); taken > deferredMemory/4 {
		t.Errorf("got %d bytes in memory before the first line, want at most a quarter of %d", taken, deferredMemory)
	}
	h.run(slots)
	h.Check(h.Wait(id), deferredLines)
	if changes > deferredGroups+3 { // the first lines start before the last ones are in the order
		t.Errorf("got %d changes of the prefix, want %d", changes, deferredGroups)
	}
	if most > deferredMemory {
		t.Errorf("got up to %d bytes in memory, want at most %d", most, deferredMemory)
	}
	if read := h.files.lines.Load(); read < deferredLines*8/10 || read > deferredLines {
		t.Errorf("%d of %d requests were read again, want most of them, once", read, deferredLines)
	}
	batchtest.Until(t, "nothing is in memory", func() bool { return h.taken() == 0 })
}

// TestDeferredMemory checks that requests that are read when their lines start fit into memory together, however
// many slots are free, that this is reported, and that one line always runs.
func TestDeferredMemory(t *testing.T) {
	t.Parallel()
	h := newDeferredHarness(t, batch.Config{MaxInFlight: 1000})
	hold := make(chan struct{})
	h.Pool.Answer = batchtest.Behind(hold)
	id := h.create()
	h.run(1000)
	batchtest.Until(t, "the shortage is reported", func() bool { return h.Engine.Capacity().Memory.Wanted > 0 })
	if taken, running := h.taken(), h.Pool.InFlight(); taken > deferredMemory || taken < deferredMemory*8/10 || running < 90 {
		t.Errorf("got %d bytes in memory with %d lines, want nearly %d", taken, running, deferredMemory)
	}
	close(hold)
	h.Check(h.Wait(id), deferredLines)
	if again := h.Pool.Repeated(); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
	batchtest.Until(t, "nothing is in memory", func() bool { return h.taken() == 0 })
}

// TestDeferredWindowIsRefilled checks that requests that run leave memory to the order of later
// lines, if memory limits how many run: without it each slice was read and started alone.
func TestDeferredWindowIsRefilled(t *testing.T) {
	t.Parallel()
	const lines, ended = 2400, 800
	h := newDeferredHarness(t, batch.Config{MaxInFlight: 1000})
	var calls atomic.Int64
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		time.Sleep(time.Duration(100+calls.Add(1)*79%200) * time.Millisecond) // lines do not end together
		return batchtest.OK(id), nil
	}
	id := h.Create(h.Upload(deferredInputOf(lines)))
	h.WaitCounted(id, ended)
	// A window has as many lines as fit in a quarter of the memory, 28 slices.
	if slices := h.files.slices.Load() - 1; slices < 45 { // one read is the validation
		t.Errorf("%d slices were read when %d lines had ended, want those of the ended lines and a window, about 53", slices, ended)
	}
	h.Check(h.Wait(id), lines)
}

// TestMemoryIsLowered checks that a batch that has more lines in memory than a lower limit permits
// releases them, and that the limit then holds. It finds lines that are kept until they run: few
// can run meanwhile.
func TestMemoryIsLowered(t *testing.T) {
	t.Parallel()
	const lower = deferredMemory / 8
	h := newDeferredHarness(t, batch.Config{MaxInFlight: 20})
	var most atomic.Int64
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		if taken := h.taken(); taken > most.Load() {
			most.Store(taken)
		}
		return batchtest.OK(id), nil
	}
	id := h.create()
	if taken := h.taken(); taken <= lower {
		t.Fatalf("got %d bytes in memory, want more than the new limit, %d", taken, lower)
	}
	cfg := h.Config
	cfg.MemoryBytes = lower
	h.Engine.Apply(cfg)
	batchtest.Until(t, "lines are released", func() bool { return h.taken() <= lower/2+batch.SliceLines*288 })
	h.run(20)
	h.Check(h.Wait(id), deferredLines)
	if most.Load() > lower {
		t.Errorf("got up to %d bytes in memory, want at most %d", most.Load(), lower)
	}
	if again := h.Pool.Repeated(); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
}

// TestOneUnreadableLine checks that a line that cannot be read holds up no other one.
func TestOneUnreadableLine(t *testing.T) {
	t.Parallel()
	h := newDeferredHarness(t, batch.Config{MaxInFlight: 20})
	h.files.brokenAt.Store(50)
	id := h.create()
	h.run(20)
	h.WaitCounted(id, deferredLines-1)
	h.files.brokenAt.Store(0)
	h.Check(h.Wait(id), deferredLines)
}

// TestDeferredReadsFail checks that lines whose requests cannot be read for a while lose nothing:
// no line fails or runs twice, no retry is used up, the problem is reported, and few reads are
// tried meanwhile.
func TestDeferredReadsFail(t *testing.T) {
	t.Parallel()
	h := newDeferredHarness(t, batch.Config{MaxInFlight: 20, Retries: 1})
	var calls atomic.Int64
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		if calls.Add(1) == 200 { // before the batch may have ended
			h.files.broken.Store(true)
		}
		return batchtest.OK(id), nil
	}
	id := h.create()
	h.run(20)
	batchtest.Until(t, "the files are broken", h.files.broken.Load)
	blocked := func() bool {
		return strings.Contains(strings.Join(h.Engine.Health(t.Context()).Paused.Texts(), "\n"), errBroken.Error())
	}
	batchtest.Until(t, "the problem is reported", blocked)
	batchtest.Until(t, "no line runs", func() bool { return h.Pool.InFlight() == 0 })
	before := h.files.lines.Load()
	time.Sleep(3500 * time.Millisecond) // the pause between two trials is one second
	if tried := h.files.lines.Load() - before; tried < 2 || tried > 5 {
		t.Errorf("got %d reads in 3.5 seconds of the outage, want one each second", tried)
	}
	if !blocked() {
		t.Error("the problem is not reported any more")
	}
	h.files.broken.Store(false)
	b := h.Wait(id)
	h.Check(b, deferredLines)
	if again := h.Pool.Repeated(); again != 0 || b.Counts.Failed != 0 {
		t.Errorf("%d calls repeated, %d lines failed", again, b.Counts.Failed)
	}
	if blocked() {
		t.Error("the problem is still reported")
	}
}

// TestDeferredLineChanges checks that a line that is not what it was is not sent, also if it is
// valid, and that the batch continues when it is restored.
func TestDeferredLineChanges(t *testing.T) {
	t.Parallel()
	h := newDeferredHarness(t, batch.Config{MaxInFlight: 20})
	var changed atomic.Int64
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		if strings.HasPrefix(id, "LINE") {
			changed.Add(1)
		}
		return batchtest.OK(id), nil
	}
	id := h.create()
	change := func(from, to string) {
		t.Helper()
		found := false
		err := filepath.WalkDir(h.Dir+"/files", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(content, []byte(from)) {
				return err
			}
			found = true
			return os.WriteFile(path, bytes.ReplaceAll(content, []byte(from), []byte(to)), 0o600)
		})
		if err != nil || !found {
			t.Fatalf("changing the input: found %t, %v", found, err)
		}
	}
	old, other := `"content":"line-002`, `"content":"LINE-002`
	change(old, other)
	h.run(20)
	batchtest.Until(t, "the change is reported", func() bool {
		return strings.Contains(strings.Join(h.Engine.Health(t.Context()).Paused.Texts(), "\n"), batch.ErrInputChanged.Error())
	})
	change(other, old)
	b := h.Wait(id)
	h.Check(b, deferredLines)
	if changed.Load() != 0 || h.Pool.Repeated() != 0 || b.Counts.Failed != 0 {
		t.Errorf("%d changed lines were sent, %d calls repeated, %d lines failed", changed.Load(), h.Pool.Repeated(), b.Counts.Failed)
	}
}

// TestDeferredRestarts checks that a restart repeats only lines that ran, and a stop with
// time to drain none.
func TestDeferredRestarts(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]time.Duration{"aborted": 0, "drained": batchtest.Patience} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const running = 30
			h := newDeferredHarness(t, batch.Config{MaxInFlight: running})
			answer, open := batchtest.First(200)
			h.Pool.Answer = answer
			id := h.create()
			h.run(running)
			h.WaitCounted(id, 200)
			batchtest.Until(t, "lines run", func() bool { return h.Pool.InFlight() == running })
			if drain > 0 {
				time.AfterFunc(50*time.Millisecond, open)
			}
			h.Close(drain)
			h.open()
			if drain == 0 {
				open()
			}
			h.Check(h.Wait(id), deferredLines)
			if again := h.Pool.Repeated(); drain == 0 && again > running || drain > 0 && again > 0 {
				t.Errorf("%d calls repeated of %d that ran", again, running)
			}
		})
	}
}

// TestDeferredLeavesMemory checks that a deferred batch that is paused, cancelled or deleted
// frees all of its memory, and that a paused one continues.
func TestDeferredLeavesMemory(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(h *deferredHarness, id string) error{
		"pause": func(h *deferredHarness, id string) error { h.Pause(id); return nil },
		"cancel": func(h *deferredHarness, id string) error {
			_, err := h.Engine.CancelBatch(h.T.Context(), tenant, id)
			return err
		},
		"delete": func(h *deferredHarness, id string) error {
			_, err := h.Engine.DeleteBatch(h.T.Context(), tenant, id, batch.Deletion{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newDeferredHarness(t, batch.Config{MaxInFlight: 20})
			answer, open := batchtest.First(100)
			h.Pool.Answer = answer
			id := h.create()
			h.run(20)
			batchtest.Until(t, "lines run", func() bool { return h.Get(id).Counts.Completed == 100 && h.Pool.InFlight() == 20 })
			if err := stop(h, id); err != nil {
				t.Fatal(err)
			}
			open()
			batchtest.Until(t, "nothing is in memory", func() bool { return h.taken() == 0 })
			if name == "pause" {
				h.Resume(id)
				h.Check(h.Wait(id), deferredLines)
				if again := h.Pool.Repeated(); again != 0 {
					t.Errorf("%d calls repeated", again)
				}
			}
		})
	}
}

// TestDeferredIsShared checks that engines share a deferred batch from its beginning.
func TestDeferredIsShared(t *testing.T) {
	t.Parallel()
	const slots = 30
	s := batchtest.NewCluster(t, batch.Config{MemoryBytes: deferredMemory, MaxInFlight: slots}, 2)
	hold := make(chan struct{})
	for _, h := range s.Members {
		batchtest.Until(t, "the engines know each other", func() bool { return len(h.Engine.Health(t.Context()).Gateways) == 2 })
		h.Pool.Set(func() { h.Pool.Limit, h.Pool.Answer = slots, batchtest.Behind(hold) })
	}
	one := s.Members[0]
	id := one.Create(one.Upload(deferredInput()))
	for _, h := range s.Members {
		batchtest.Until(t, "every engine has lines", func() bool { return h.Pool.InFlight() == slots })
	}
	close(hold)
	one.Check(one.Wait(id), deferredLines)
	s.WantOnce(deferredLines)
}

// TestDeferredIsHandedOver checks that an engine that has claimed all of a deferred batch, and has
// started a line of nearly every slice, leaves the rest to another one that is idle, and that
// both then run what they have. It finds slices that are kept because of one line.
func TestDeferredIsHandedOver(t *testing.T) {
	t.Parallel()
	const slots = 30
	s := batchtest.NewCluster(t, batch.Config{MemoryBytes: deferredMemory, MaxInFlight: slots}, 1)
	one, hold := s.Members[0], make(chan struct{})
	one.Pool.Set(func() {
		one.Pool.Limit, one.Pool.Answer, one.Pool.Room = slots, batchtest.Behind(hold), map[string]int{"m": 0}
	})
	id := one.Create(one.Upload(deferredInput()))
	batchtest.Until(t, "one to have nearly all", func() bool {
		left, err := s.Store.ClaimableSlices(t.Context(), id, deferredLines)
		return err == nil && len(left) <= deferredLeft && one.Engine.Capacity().Memory.Taken > 0
	})
	one.Pool.Set(func() { one.Pool.Room = nil })
	batchtest.Until(t, "one to run lines", func() bool { return one.Pool.InFlight() == slots })
	other := s.Join(batch.Config{MaxInFlight: deferredLines})
	other.Pool.Set(func() { other.Pool.Limit, other.Pool.Answer = deferredLines, batchtest.Behind(hold) })
	one.Pool.Set(func() { one.Pool.OthersAreIdle = true })
	batchtest.Until(t, "the other to run nearly all", func() bool { return other.Pool.InFlight() >= deferredLines-2*slots })
	close(hold)
	one.Check(one.Wait(id), deferredLines)
	s.WantOnce(deferredLines)
}

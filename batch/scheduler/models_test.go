package scheduler

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// fakeUp is a dispatcher that reports errors of models.
type fakeUp struct {
	idlePool
	errors map[string]error
}

func (f fakeUp) Up(model string) error { return f.errors[model] }

// noted records what is reported to health.
type noted map[string]error

func (n noted) Note(part string, err error)       { n[part] = err }
func (n noted) NoteModel(model string, err error) { n["model "+model] = err }
func (n noted) NoteBatch(id, _ string, err error) { n[id] = err }

func TestUnroutable(t *testing.T) {
	for name, tt := range map[string]struct {
		named   string // Model of an active batch
		err     error  // of the dispatcher
		want    string // "yes", "trial" or "no"
		changed bool
	}{
		"has an upstream again":         {"m", nil, "no", true},
		"has none":                      {"m", batch.ErrDown, "yes", false},
		"a trial needs a line":          {"m", batch.ErrTrial, "trial", true},
		"not named any more":            {"n", batch.ErrDown, "no", true},
		"named by a batch of several":   {"", batch.ErrDown, "yes", false},
		"again, for a batch of several": {"", nil, "no", true},
	} {
		health := noted{}
		m := newModels(&Dependencies{Dispatcher: fakeUp{errors: map[string]error{"m": tt.err}}, Health: health})
		m.refreshed([]batch.Batch{{Model: tt.named}})
		m.markUnroutable("m", batch.ErrDown)
		if err := health["model m"]; !errors.Is(err, batch.ErrDown) {
			t.Errorf("%s: health: got %v, want %v", name, err, batch.ErrDown)
		}
		changed := m.checkUnroutable()
		state := "no"
		if unroutable, noted := m.unroutable["m"]; unroutable {
			state = "yes"
		} else if noted {
			state = "trial"
		}
		if state != tt.want || changed != tt.changed {
			t.Errorf("%s: got unroutable %s, changed %v, want %s, %v", name, state, changed, tt.want, tt.changed)
		}
		if again := m.checkUnroutable(); again {
			t.Errorf("%s: a second check: got changed true, want false", name)
		}
	}
}

// A model whose stopped upstreams are started by its lines is no error.
func TestAwayIsNoError(t *testing.T) {
	health := noted{"model m": batch.ErrDown}
	m := newModels(&Dependencies{Health: health})
	m.markUnroutable("m", batch.ErrAway)
	if err := health["model m"]; err != nil || !m.unroutable["m"] {
		t.Errorf("got health %v, unroutable %v, want no error, true", err, m.unroutable["m"])
	}
}

func TestSaturated(t *testing.T) {
	const step = 250 * time.Millisecond
	for name, tt := range map[string]struct {
		full  string // in each step: f full, . free, ? not known
		want  bool
		began int // how often it became saturated
	}{
		"full for stallTime":    {"fffffffff", true, 1},
		"full for less":         {"ffffffff", false, 1},
		"a short gap":           {"ffff..fff", true, 1},
		"a long gap":            {"ffff...ff", false, 2},
		"not known for a while": {"ff?????ff", true, 1},
		"free afterwards":       {"fffffffff...", false, 1},
		"never full":            {".........", false, 0},
	} {
		m := newModels(&Dependencies{})
		now := time.Now()
		began := 0
		for i, c := range tt.full {
			if i > 0 {
				now = now.Add(step)
			}
			full := map[string]bool{}
			if c == 'f' {
				full["m"] = true
			}
			if m.noteSaturated(full, c != '?', now) {
				began++
			}
		}
		if got := m.saturatedLong("m", now); got != tt.want || began != tt.began {
			t.Errorf("%s: got saturated %v, began %d times, want %v, %d", name, got, began, tt.want, tt.began)
		}
	}
}

func TestIsStalled(t *testing.T) {
	full := map[string]bool{"m": true, "n": true}
	for name, tt := range map[string]struct {
		pending             string // models of pending lines
		running, backingOff int
		want                bool
	}{
		"nothing waits":                       {},
		"all models are full":                 {pending: "m n", want: true},
		"one model has a slot":                {pending: "m o"},
		"a line runs":                         {pending: "m", running: 1},
		"all lines wait for their retry":      {backingOff: 2, want: true},
		"retries, and a line of a full model": {pending: "m", backingOff: 2, want: true},
	} {
		q := newBatchQueue(batch.Batch{Model: ""})
		for model := range strings.FieldsSeq(tt.pending) {
			q.push(newLine(&work{batchQueue: q}, 0, request(model)))
		}
		q.running, q.backingOff = tt.running, tt.backingOff
		if got := q.isStalled(full); got != tt.want {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// Slices of a model without an upstream are released when they have waited for stallTime,
// except those with a line that was tried.
func TestReleaseUnroutable(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		stalled    time.Duration
		unroutable bool
		tried      bool
		want       []int // numbers of released slices
	}{
		"released":             {stallTime, true, false, []int{2, 1}},
		"not stalled for long": {stallTime - 1, true, false, nil},
		"only full":            {stallTime, false, false, nil},
		"one slice was tried":  {stallTime, true, true, []int{2}},
	} {
		s := newQueueSet(unlimited)
		first := loadedSlice(s, "a", 1, 2, 10)
		loadedSlice(s, "a", 2, 2, 10)
		q := s.byID["a"]
		q.stalled = condition{now.Add(-tt.stalled)}
		m := newModels(&Dependencies{Health: noted{}})
		if tt.unroutable {
			m.markUnroutable("m", batch.ErrDown)
		}
		if tt.tried {
			failOnce(first.lines[1])
		}
		r := releases{queues: s}
		if got, want := r.unroutable(q, m, now), tt.want != nil; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
		if got := released(&r); !slices.Equal(got, tt.want) {
			t.Errorf("%s: released slices: got %v, want %v", name, got, tt.want)
		}
		if got, want := len(slices.Collect(maps.Keys(q.work))), 2-len(tt.want); got != want {
			t.Errorf("%s: slices that stay: got %d, want %d", name, got, want)
		}
	}
}

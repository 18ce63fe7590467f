package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// screen is a progress whose time and width the test plays.
type screen struct {
	*progress
	out     bytes.Buffer
	at      time.Time
	columns int
}

func newScreen(terminal bool) *screen {
	s := &screen{at: time.Unix(1e9, 0), columns: 80}
	s.progress = &progress{w: &s.out, terminal: terminal, width: func() int { return s.columns }, now: func() time.Time { return s.at }}
	return s
}

// drawn shows a state after some time and returns the drawing.
func (s *screen) drawn(after time.Duration, st state) string {
	s.at = s.at.Add(after)
	before := s.out.Len()
	s.show(st)
	return s.out.String()[before:]
}

func TestProgressOnATerminal(t *testing.T) {
	s := newScreen(true)
	lines := func(done, failed int64) state {
		return state{label: "b in_progress", done: done, failed: failed, total: 200, unit: "lines"}
	}
	for i, step := range []struct {
		after time.Duration
		state state
		want  string // "" for nothing
	}{
		{0, lines(0, 0), "\r\x1b[K[" + strings.Repeat("·", 54) + "] b in_progress 0% 0/200"},
		{99 * time.Millisecond, lines(10, 0), ""},
		{time.Millisecond, lines(20, 0), "\r\x1b[K[" + strings.Repeat("█", 5) + strings.Repeat("·", 47) + "] b in_progress 10% 20/200"},
		{900 * time.Millisecond, lines(100, 3), "\r\x1b[K[" + strings.Repeat("█", 12) + strings.Repeat("·", 13) + "] b in_progress 50% 100/200, 3 failed, 100/s, 1s left"},
		{time.Millisecond, lines(199, 3), ""},
		{time.Millisecond, lines(200, 3), "\r\x1b[K[" + strings.Repeat("█", 33) + "] b in_progress 100% 200/200, 3 failed, 199/s"}, // the end is always shown
		{time.Millisecond, lines(200, 3), ""}, // once
		{time.Millisecond, state{label: "b finalizing", done: 200, failed: 3, total: 200}, "\r\x1b[K[" + strings.Repeat("█", 41) + "] b finalizing 100% 200/200, 3 failed"},
		{time.Millisecond, state{label: "b finalizing"}, ""},
		{time.Second, state{label: "b validating"}, "\r\x1b[Kb validating"},
	} {
		got := s.drawn(step.after, step.state)
		if strings.Contains(got, "[") && len([]rune(got)) > 4+79 {
			t.Errorf("step %d drew more than a line: %q", i, got)
		}
		if got != step.want {
			t.Errorf("step %d drew\n%q, want\n%q", i, got, step.want)
		}
	}
	before := s.out.Len()
	s.end()
	s.end()
	if got := s.out.String()[before:]; got != "\n" {
		t.Errorf("the end drew %q", got)
	}
}

// TestProgressOfABatchHasABar checks that a bar fits next to a batch's id on a terminal of
// the usual width, and that the status stays readable.
func TestProgressOfABatchHasABar(t *testing.T) {
	st := state{label: "batch_0123456789abcdef0123456789abcdef in_progress", done: 5000, failed: 12, total: 20000, unit: "lines"}
	figures := st.figures(10*time.Second, 5000)
	want := "[" + strings.Repeat("█", 2) + strings.Repeat("·", 8) + "] batch_0123… in_progress 25% 5000/20000, 12 failed, 500/s, 30s left"
	if got := st.bar(figures, 80); got != want {
		t.Errorf("80 columns: got\n%q, want\n%q", got, want)
	}
	want = st.label + figures
	if got := st.bar(figures, 200); !strings.HasSuffix(got, want) || !strings.HasPrefix(got, "[█") {
		t.Errorf("200 columns: got\n%q, want a bar and\n%q", got, want)
	}
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		label string
		most  int
		want  string
	}{
		{"uploading x.jsonl", 17, "uploading x.jsonl"},
		{"uploading a-long-file-name.jsonl", 20, "uploading a-long-fi…"},
		{"batch_0123456789abcdef finalizing", 24, "batch_012345… finalizing"},
		{"ab cd ef gh", 6, "ab cd…"},
		{"abcdefghij", 1, "…"},
		{"abc", 0, "abc"},
	} {
		got := string(shorten([]rune(tt.label), tt.most))
		if got != tt.want {
			t.Errorf("shorten(%q, %d) = %q, want %q", tt.label, tt.most, got, tt.want)
		}
	}
}

func TestProgressElsewhere(t *testing.T) {
	s := newScreen(false)
	st := func(done int64) state { return state{label: "b in_progress", done: done, total: 100, unit: "lines"} }
	for i, step := range []struct {
		after time.Duration
		state state
		want  string
	}{
		{0, state{label: "b validating"}, "b validating\n"},
		{time.Second, state{label: "b validating"}, ""},
		{time.Hour, state{label: "b validating"}, ""}, // not repeated in a log
		{time.Second, st(0), "b in_progress 0% 0/100\n"},
		{4999 * time.Millisecond, st(10), ""},
		{time.Millisecond, st(10), "b in_progress 10% 10/100, 2.0/s, 45s left\n"},
		{time.Second, st(99), ""},
		{time.Second, st(100), "b in_progress 100% 100/100, 14/s\n"},
		{time.Second, st(100), ""},
	} {
		if got := s.drawn(step.after, step.state); got != step.want {
			t.Errorf("step %d wrote %q, want %q", i, got, step.want)
		}
	}
	s.end()
	if strings.HasSuffix(s.out.String(), "\n\n") {
		t.Error("an empty line at the end")
	}
}

func TestProgressOfBytes(t *testing.T) {
	s := newScreen(false)
	st := func(done, total int64) state {
		return state{label: "uploading x", done: done, total: total, unit: "B"}
	}
	s.drawn(0, st(0, 10e9))
	if got, want := s.drawn(10*time.Second, st(2.5e9, 10e9)), "uploading x 25% 2.5 GB/10.0 GB, 250.0 MB/s, 30s left\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	// It restarts: bytes sent before do not count.
	s.drawn(10*time.Second, st(1e9, 10e9))
	if got, want := s.drawn(10*time.Second, st(2e9, 10e9)), "uploading x 20% 2.0 GB/10.0 GB, 100.0 MB/s, 1m20s left\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	s = newScreen(false)
	s.drawn(0, st(1e6, 0))
	if got, want := s.drawn(10*time.Second, st(11e6, 0)), "uploading x 11.0 MB, 1.0 MB/s\n"; got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

func TestProgressIsNarrow(t *testing.T) {
	long := state{label: "uploading " + strings.Repeat("long ", 100) + ".jsonl", done: 5, total: 10, unit: "B"}
	for _, columns := range []int{1, 2, 10, 20, 30, 80, 200} {
		s := newScreen(true)
		s.columns = columns
		got := strings.TrimPrefix(s.drawn(0, long), "\r\x1b[K")
		if n := len([]rune(got)); n >= columns {
			t.Errorf("%d columns: %d drawn, %q", columns, n, got)
		}
		if columns >= 30 && !strings.HasSuffix(got, "… 50% 5 B/10 B") {
			t.Errorf("%d columns: the figures are not in %q", columns, got)
		}
	}
	s := newScreen(true)
	if got := s.drawn(0, state{label: "two\nlines\x1b[31m", done: 1, total: 3}); strings.ContainsAny(got[4:], "\n\x1b") {
		t.Errorf("drew %q", got)
	}
}

func TestFigures(t *testing.T) {
	for name, tt := range map[string]struct {
		state   state
		elapsed time.Duration
		since   int64
		want    string
	}{
		"nothing known":      {state{}, time.Hour, 0, ""},
		"negative total":     {state{total: -1}, time.Hour, 0, ""},
		"more than all":      {state{done: 12, total: 10}, time.Minute, 12, " 100% 12/10, 0.2/s"},
		"nothing done":       {state{total: 10}, time.Hour, 0, " 0% 0/10"},
		"too early to tell":  {state{done: 5, total: 10}, 499 * time.Millisecond, 5, " 50% 5/10"},
		"all before":         {state{done: 5, total: 10}, time.Hour, 0, " 50% 5/10"},
		"never at this rate": {state{done: 1, total: 1 << 62}, 1000 * time.Hour, 1, " 0% 1/4611686018427387904, 0.0/s"},
	} {
		if strings.Contains(name, "never") {
			tt.state.total = 1 << 40
			tt.want = " 0% 1/1099511627776, 0.0/s"
		}
		if got := tt.state.figures(tt.elapsed, tt.since); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestSizesAndAges(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1500: "1.5 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 2.5e9: "2.5 GB", 8e12: "8.0 TB", 9e15: "9000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	now := time.Unix(1e9, 0)
	for ago, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 59 * time.Minute: "59m",
		time.Hour: "1h", 47 * time.Hour: "47h", 48 * time.Hour: "2d", 1000 * time.Hour: "41d",
	} {
		if got := age(now.Add(-ago).Unix(), now); got != want {
			t.Errorf("%s ago: %s, want %s", ago, got, want)
		}
	}
}

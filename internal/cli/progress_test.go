package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// clock is a progress on a time of the test's own.
type clock struct {
	*progress
	said bytes.Buffer
	t    time.Time
}

func newClock(terminal bool, width int) *clock {
	c := &clock{t: time.Unix(1000, 0)}
	c.progress = &progress{w: &c.said, terminal: terminal, width: func() int { return width }, now: func() time.Time { return c.t }}
	return c
}

func (c *clock) after(d time.Duration, s state) string {
	c.t = c.t.Add(d)
	c.said.Reset()
	c.show(s)
	return c.said.String()
}

func TestProgressOnTerminal(t *testing.T) {
	c := newClock(true, 80)
	s := state{label: "b", total: 200, unit: "lines"}
	if got := c.after(0, s); !strings.HasPrefix(got, "\r\x1b[K[·") || !strings.Contains(got, "b 0% 0/200") {
		t.Errorf("first: %q", got)
	}
	s.done = 10
	if got := c.after(50*time.Millisecond, s); got != "" {
		t.Errorf("too soon: %q", got)
	}
	s.done, s.failed = 100, 3
	got := c.after(9950*time.Millisecond, s)
	if !strings.Contains(got, "b 50% 100/200, 3 failed, 10/s, 10s left") {
		t.Errorf("half: %q", got)
	}
	if full, empty := strings.Count(got, "█"), strings.Count(got, "·"); full == 0 || full-empty > 1 || empty-full > 1 {
		t.Errorf("the bar has %d and %d: %q", full, empty, got)
	}
	if n := len([]rune(strings.TrimPrefix(got, "\r\x1b[K"))); n >= 80 {
		t.Errorf("%d columns", n)
	}
	s.done = 200
	if got := c.after(time.Millisecond, s); !strings.Contains(got, "100% 200/200") {
		t.Errorf("the end is always shown: %q", got)
	}
	c.said.Reset()
	c.end()
	if c.said.String() != "\n" {
		t.Errorf("end: %q", c.said.String())
	}
	c.said.Reset()
	c.end()
	if c.said.Len() != 0 {
		t.Errorf("a second end: %q", c.said.String())
	}
}

func TestProgressOnNarrowTerminal(t *testing.T) {
	c := newClock(true, 30)
	got := c.after(0, state{label: strings.Repeat("long ", 20), done: 1, total: 2, unit: "lines"})
	if n := len([]rune(strings.TrimPrefix(got, "\r\x1b[K"))); n >= 30 {
		t.Errorf("%d columns: %q", n, got)
	}
}

func TestProgressElsewhere(t *testing.T) {
	c := newClock(false, 0)
	s := state{label: "uploading", total: 2_000_000, unit: "B"}
	if got := c.after(0, s); got != "uploading 0% 0 B/2.0 MB\n" {
		t.Errorf("first: %q", got)
	}
	s.done = 500_000
	if got := c.after(4*time.Second, s); got != "" {
		t.Errorf("too soon: %q", got)
	}
	if got := c.after(time.Second, s); got != "uploading 25% 500.0 kB/2.0 MB, 100.0 kB/s, 15s left\n" && got != "uploading 25% 500.0 KB/2.0 MB, 100.0 KB/s, 15s left\n" {
		t.Errorf("later: %q", got)
	}
	if got := c.after(0, state{label: "validating"}); got != "validating\n" {
		t.Errorf("without a total: %q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 KB", 1_500_000: "1.5 MB", 2_000_000_000: "2.0 GB", 3_000_000_000_000: "3.0 TB", 4_000_000_000_000_000: "4000.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{5 * time.Second: "5s", 3 * time.Minute: "3m", 5 * time.Hour: "5h", 72 * time.Hour: "3d"} {
		if got := age(time.Now().Add(-d).Unix()); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

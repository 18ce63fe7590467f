package scheduler

import (
	"slices"
	"testing"
	"time"
)

func TestDeadlines(t *testing.T) {
	begin := time.Now()
	var d deadlines
	if got := d.wait(begin); got != idleWait {
		t.Errorf("wait without a deadline: got %s, want %s", got, idleWait)
	}
	var ran []string
	note := func(name string) func() { return func() { ran = append(ran, name) } }
	d.at(begin.Add(3*time.Second), note("third"))
	d.at(begin.Add(time.Second), note("first"))
	d.at(begin.Add(2*time.Second), note("second"))
	d.at(begin.Add(2*time.Second), note("second, added later"))
	d.at(begin.Add(1500*time.Millisecond), nil)
	for _, step := range []struct {
		after time.Duration
		ran   []string
		wait  time.Duration // to the next
	}{
		{0, nil, time.Second},
		{999 * time.Millisecond, nil, time.Millisecond},
		{time.Second, []string{"first"}, 500 * time.Millisecond},
		{1500 * time.Millisecond, nil, 500 * time.Millisecond},
		{2 * time.Second, []string{"second", "second, added later"}, time.Second},
		{5 * time.Second, []string{"third"}, idleWait},
	} {
		now := begin.Add(step.after)
		ran = nil
		d.run(now)
		if !slices.Equal(ran, step.ran) {
			t.Errorf("after %s: got %q, want %q", step.after, ran, step.ran)
		}
		if got := d.wait(now); got != step.wait {
			t.Errorf("wait after %s: got %s, want %s", step.after, got, step.wait)
		}
	}
}

// A deadline that has passed is waited for no time, and what it adds for now runs at once.
func TestDeadlineInThePast(t *testing.T) {
	now := time.Now()
	var d deadlines
	ran := 0
	d.at(now.Add(-time.Second), func() {
		ran++
		d.at(now, func() { ran++ })
		d.at(now.Add(time.Second), func() { ran++ })
	})
	if got := d.wait(now); got != 0 {
		t.Errorf("wait: got %s, want 0", got)
	}
	d.run(now)
	if ran != 2 {
		t.Errorf("functions that ran: got %d, want 2", ran)
	}
}

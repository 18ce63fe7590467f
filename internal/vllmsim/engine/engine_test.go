package engine

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func request(letter byte, tokens, generate int) Request {
	return Request{Prompt: prompt(letter, tokens), MaxTokens: generate, StallAt: -1, WakeAt: 1, Progress: make(chan struct{}, 1)}
}

func submit(t *testing.T, e *Engine, requests ...Request) []*Sequence {
	t.Helper()
	seqs, err := e.Submit(requests...)
	if err != nil {
		t.Fatal(err)
	}
	return seqs
}

// wait returns when a sequence has finished.
func wait(q *Sequence) {
	for !q.Done() {
		<-q.Progress
	}
}

// Steps take the time of the formula, divided by the speed.
func TestEngineKeepsTime(t *testing.T) {
	for _, speed := range []float64{1, 2, 10} {
		t.Run(fmt.Sprint(speed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(Config{Spec: small, Speed: speed})
				defer e.Stop()
				start := time.Now()
				q := submit(t, e, request('a', 100, 3))[0]
				want := time.Duration(0)
				for i, step := range []time.Duration{
					110 * time.Millisecond, 11*time.Millisecond + 101*time.Microsecond, 11*time.Millisecond + 102*time.Microsecond,
				} {
					<-q.Progress
					want += time.Duration(float64(step) / speed)
					if got := time.Since(start); got != want || q.Generated() != i+1 {
						t.Errorf("token %d after %s, want %s", q.Generated(), got, want)
					}
				}
				if !q.Done() {
					t.Error("not done")
				}
			})
		})
	}
}

// TestArrivalDuringAStep checks that a request that arrives during a step is scheduled at
// its end, and does not count as waiting before.
func TestArrivalDuringAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Spec: small})
		defer e.Stop()
		start := time.Now()
		first := submit(t, e, request('a', 50, 20))[0]
		time.Sleep(20 * time.Millisecond)
		second := submit(t, e, request('b', 30, 2))[0]
		if got := e.Snapshot(); got.Running != 1 || got.Waiting != 0 || got.Arriving != 1 {
			t.Errorf("during the step: %+v", got)
		}
		<-second.Progress
		// The first step takes 60 ms, the next 41 ms for the prompt and the decode.
		if got, want := time.Since(start), 101*time.Millisecond+51*time.Microsecond; got != want {
			t.Errorf("first token after %s, want %s", got, want)
		}
		wait(first)
		wait(second)
	})
}

// An engine that was idle begins a step with the arrival, not on a grid.
func TestIdleEngineBeginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Spec: small})
		defer e.Stop()
		for range 3 {
			start := time.Now()
			q := submit(t, e, request('a', 10, 1))[0]
			wait(q)
			if got, want := time.Since(start), 20*time.Millisecond; got != want {
				t.Errorf("took %s, want %s", got, want)
			}
			time.Sleep(17 * time.Millisecond)
		}
	})
}

func TestAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := small
		spec.MaxNumSeqs = 1
		var last Snapshot
		e := New(Config{Spec: spec, Published: func(s Snapshot) { last = s }})
		defer e.Stop()
		running := submit(t, e, request('a', 50, 100))[0]
		waiting := submit(t, e, request('b', 50, 100))[0]
		next := submit(t, e, request('c', 50, 1))[0]
		<-running.Progress
		synctest.Wait()
		e.Abort(waiting)
		if got := e.Snapshot(); got.Running != 1 || got.Waiting != 1 {
			t.Errorf("after the abort of a waiting sequence: %+v", got)
		}
		e.Abort(running)
		e.Abort(running) // once is enough
		aborted := time.Now()
		<-next.Progress
		// The step of 11 ms ends, then the next sequence is read in 60 ms.
		if got := time.Since(aborted); got > 71*time.Millisecond+51*time.Microsecond {
			t.Errorf("the place is free only after %s", got-60*time.Millisecond)
		}
		synctest.Wait()
		if last.Running != 0 || last.Waiting != 0 || last.KVUsed != 0 {
			t.Errorf("at last %+v", last)
		}
		if running.Done() || running.Generated() > 2 || waiting.Generated() != 0 {
			t.Errorf("aborted sequences have %d and %d tokens", running.Generated(), waiting.Generated())
		}
	})
}

func TestSubmitRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Spec: small, MaxUnfinished: 3})
		defer e.Stop()
		if _, err := e.Submit(request('a', 300, 30)); !errors.Is(err, ErrTooLong) {
			t.Errorf("too long: %v", err)
		}
		two := submit(t, e, request('a', 10, 1), request('a', 10, 1))
		if _, err := e.Submit(request('b', 10, 1), request('b', 10, 1)); !errors.Is(err, ErrFull) {
			t.Errorf("a fourth: %v", err)
		}
		third := submit(t, e, request('c', 10, 1))[0]
		for _, q := range append(two, third) {
			wait(q)
		}
		submit(t, e, request('d', 10, 1)) // there are free slots again
	})
}

func TestFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Spec: small})
		defer e.Stop()
		q := submit(t, e, request('a', 10, 5))[0]
		<-q.Progress
		e.Freeze(true)
		time.Sleep(time.Hour)
		if got := q.Generated(); got != 1 {
			t.Errorf("%d tokens while frozen, want 1", got)
		}
		e.Freeze(false)
		wait(q)
		e.Freeze(true)
		q = submit(t, e, request('a', 10, 5))[0]
		time.Sleep(time.Hour)
		if got := q.Generated(); got != 0 {
			t.Errorf("%d tokens of a request that came while frozen, want 0", got)
		}
		e.Freeze(false)
		wait(q)
	})
}

// Capacity changes while requests run.
func TestCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Config{Spec: small})
		defer e.Stop()
		e.SetMaxNumSeqs(1)
		long := submit(t, e, request('a', 10, 50))[0]
		other := submit(t, e, request('b', 10, 50))[0]
		<-long.Progress
		synctest.Wait()
		if got := e.Snapshot(); got.Running != 1 || got.MaxNumSeqs != 1 {
			t.Errorf("with one place: %+v", got)
		}
		e.SetMaxNumSeqs(2)
		<-other.Progress
		if got := e.Snapshot(); got.Running != 2 {
			t.Errorf("with two places: %+v", got)
		}
		e.SetSpeed(1000)
		start := time.Now()
		wait(long)
		wait(other)
		if got := time.Since(start); got > 20*time.Millisecond {
			t.Errorf("1,000 times as fast it takes %s", got)
		}
	})
}

// TestLateTimers checks that a late timer does not delay later steps, unless it is very
// late.
func TestLateTimers(t *testing.T) {
	for name, test := range map[string]struct {
		late, lost time.Duration
	}{
		"late":      {50 * time.Millisecond, 0},
		"very late": {500 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := New(Config{Spec: small})
				defer e.Stop()
				start := time.Now()
				q := submit(t, e, request('a', 10, 100))[0]
				<-q.Progress   // after 20 ms
				e.timer.Stop() // it is due after 31 ms
				time.Sleep(11*time.Millisecond + 11*time.Microsecond + test.late)
				e.tick()
				wait(q)
				want := 20*time.Millisecond + test.lost
				for i := range 99 {
					want += 11*time.Millisecond + time.Duration(11+i)*time.Microsecond
				}
				if got := time.Since(start); got != want {
					t.Errorf("ended after %s, want %s", got, want)
				}
				if got := e.Snapshot().Lost; got != test.lost {
					t.Errorf("lost %s, want %s", got, test.lost)
				}
			})
		})
	}
}

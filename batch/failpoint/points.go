package failpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/tidegate/tidegate/batch"
)

// When a call fails: before it is made, so that it has no effect, or after it
// succeeded, so that it has its effect and the caller gets an error.
const (
	before = "before"
	after  = "after"
)

// Actions of a failpoint.
const (
	crash = "crash" // the process is killed, as by kill -9
	fails = "error" // the caller gets a transient error
)

// Point is one failpoint.
type Point struct {
	Call   string // part and method, such as store.CommitResults
	When   string // before or after
	Action string // crash or error
	At     int    // the number of the call that fails, from 1; 0: every call
}

// Parse reads points: CALL:WHEN=ACTION[@AT], separated by commas.
func Parse(text string) ([]Point, error) {
	var points []Point
	for word := range strings.SplitSeq(text, ",") {
		if word == "" {
			continue
		}
		place, action, _ := strings.Cut(word, "=")
		call, when, _ := strings.Cut(place, ":")
		action, at, counted := strings.Cut(action, "@")
		p := Point{Call: call, When: when, Action: action}
		if counted {
			n, err := strconv.Atoi(at)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("failpoint %q: %q is not a number above 0", word, at)
			}
			p.At = n
		}
		if !slices.Contains(Calls(), call) {
			return nil, fmt.Errorf("failpoint %q: unknown call %q; the calls are %s", word, call, strings.Join(Calls(), ", "))
		}
		if when != before && when != after || action != crash && action != fails {
			return nil, fmt.Errorf("failpoint %q: want CALL:before or :after, =crash or =error", word)
		}
		points = append(points, p)
	}
	return points, nil
}

// Set holds the failpoints of a process.
type Set struct {
	points []Point
	report io.Writer
	kill   func()

	mu   sync.Mutex
	hits map[string]int // guarded by mu; by call and when
}

// NewSet returns a set that kills the process at a crash. It writes each failpoint
// that fires to report.
func NewSet(points []Point, report io.Writer) *Set {
	return &Set{points: points, report: report, hits: make(map[string]int), kill: func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {} // until the signal arrives
	}}
}

var errOnPurpose = errors.New("failed on purpose")

// hit counts a passage of a place and fails if a failpoint is set there.
func (s *Set) hit(call, when string) error {
	place := call + ":" + when
	s.mu.Lock()
	s.hits[place]++
	n := s.hits[place]
	s.mu.Unlock()
	for _, p := range s.points {
		if p.Call != call || p.When != when || p.At != 0 && p.At != n {
			continue
		}
		fmt.Fprintf(s.report, "failpoint %s=%s@%d\n", place, p.Action, n)
		if p.Action == crash {
			s.kill()
		}
		return fmt.Errorf("%s: %w: %w", place, errOnPurpose, batch.ErrUnavailable)
	}
	return nil
}

// do makes a call that returns only an error.
func (s *Set) do(call string, f func() error) error {
	if err := s.hit(call, before); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return s.hit(call, after)
}

// open opens a part, and closes it again if it reports a failure after that.
func (s *Set) open(ctx context.Context, call string, part interface {
	Open(ctx context.Context) error
	Close() error
},
) error {
	if err := s.hit(call, before); err != nil {
		return err
	}
	if err := part.Open(ctx); err != nil {
		return err
	}
	if err := s.hit(call, after); err != nil {
		return errors.Join(err, part.Close())
	}
	return nil
}

// get makes a call that returns a value and an error.
func get[T any](s *Set, call string, f func() (T, error)) (T, error) {
	var zero T
	if err := s.hit(call, before); err != nil {
		return zero, err
	}
	v, err := f()
	if err != nil {
		return v, err
	}
	if err := s.hit(call, after); err != nil {
		return zero, err
	}
	return v, nil
}

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

// When a call fails: before it was made, so that nothing has happened, or after
// it succeeded, so that it has happened and nobody is told.
const (
	before = "before"
	after  = "after"
)

// What happens then.
const (
	crash = "crash" // the process is killed, as by kill -9
	fails = "error" // the caller gets an error that may pass
)

// Point is one place that fails.
type Point struct {
	Call   string // part and method, such as store.CommitResults
	When   string // before or after
	Action string // crash or error
	At     int    // at which call it fails, from 1 on; 0 for every one
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
			return nil, fmt.Errorf("failpoint %q: there is no call %q; there are %s", word, call, strings.Join(Calls(), ", "))
		}
		if when != before && when != after || action != crash && action != fails {
			return nil, fmt.Errorf("failpoint %q: want CALL:before or :after, =crash or =error", word)
		}
		points = append(points, p)
	}
	return points, nil
}

// Set is the points of a process.
type Set struct {
	points []Point
	report io.Writer
	kill   func()

	mu   sync.Mutex
	hits map[string]int // guarded by mu; by call and when
}

// NewSet makes a set that kills the process where it is to crash, and says on
// report that it does.
func NewSet(points []Point, report io.Writer) *Set {
	return &Set{points: points, report: report, hits: make(map[string]int), kill: func() {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {} // until it has come
	}}
}

var errOnPurpose = errors.New("failed on purpose")

// hit counts that a place is passed, and fails if a point stands there.
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

// do makes a call that gives only an error.
func (s *Set) do(call string, f func() error) error {
	if err := s.hit(call, before); err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	return s.hit(call, after)
}

// open opens a part. One that is said not to be open is closed again.
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

// get makes a call that gives a value.
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

package failpoint

import (
	"bytes"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

func TestParse(t *testing.T) {
	points, err := Parse("store.CommitResults:after=crash@3,queue.Pop:before=error")
	want := []Point{{"store.CommitResults", after, crash, 3}, {"queue.Pop", before, fails, 0}}
	if err != nil || !slices.Equal(points, want) {
		t.Errorf("got %v, %v", points, err)
	}
	if points, err := Parse(""); err != nil || points != nil {
		t.Errorf("empty value: got %v, %v, want none", points, err)
	}
	for _, bad := range []string{"store.Nothing:after=crash", "store.Open=crash", "store.Open:during=crash", "store.Open:after=explode", "store.Open:after=crash@0", "store.Open:after=crash@x", "store.Open"} {
		if _, err := Parse(bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPoints(t *testing.T) {
	points, err := Parse("queue.Pop:before=error@2,queue.Pop:after=error@2,queue.Done:after=crash@1")
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s := NewSet(points, &said)
	killed := 0
	s.kill = func() { killed++ }
	made := 0
	pop := func() error {
		_, err := get(s, "queue.Pop", func() (int, error) { made++; return made, nil })
		return err
	}
	failed := func(err error) bool { return errors.Is(err, errOnPurpose) && errors.Is(err, batch.ErrUnavailable) }
	if err := pop(); err != nil || made != 1 {
		t.Errorf("first: %v, %d calls", err, made)
	}
	if err := pop(); !failed(err) || made != 1 {
		t.Errorf("second fails before: %v, %d calls", err, made)
	}
	if err := pop(); !failed(err) || made != 2 {
		t.Errorf("the second that is made fails after: %v, %d calls", err, made)
	}
	if err := pop(); err != nil || made != 3 {
		t.Errorf("fourth: %v, %d calls", err, made)
	}
	own := errors.New("own")
	if err := s.do("queue.Done", func() error { return own }); !errors.Is(err, own) || killed != 0 {
		t.Errorf("a call that failed by itself: %v, %d kills", err, killed)
	}
	if err := s.do("queue.Done", func() error { return nil }); err == nil || killed != 1 {
		t.Errorf("crash: %v, %d kills", err, killed)
	}
	for _, want := range []string{"failpoint queue.Pop:before=error@2\n", "failpoint queue.Pop:after=error@2\n", "failpoint queue.Done:after=crash@1\n"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("message does not contain %q: %s", want, &said)
		}
	}
}

// The list of calls names every failpoint of the code, and no other.
func TestCallsAreThoseOfTheCode(t *testing.T) {
	var found []string
	for _, name := range []string{"generated", "wrap"} {
		code, err := os.ReadFile(name + ".go")
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`"((?:store|queue|files|pool)\.[A-Za-z]+)"`).FindAllStringSubmatch(string(code), -1) {
			found = append(found, match[1])
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if !slices.Equal(found, Calls()) {
		t.Errorf("the code has %v, the list %v", found, Calls())
	}
}

// Wrappers have the optional features of the drivers that they wrap, and no others.
func TestWrappersKeepCapabilities(t *testing.T) {
	s := NewSet(nil, new(bytes.Buffer))
	batchtest.KeepCapabilities(t, batchtest.Wrappers{Store: s.Store, Queue: s.Queue, Files: s.Files, Dispatcher: s.Dispatcher})
}

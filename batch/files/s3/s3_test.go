package s3

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/files/filestest"
)

func TestSuite(t *testing.T) {
	filestest.Run(t, func(t *testing.T) batch.Files { return serve(t).files() })
}

func TestSuiteWithoutPrefix(t *testing.T) {
	filestest.Run(t, func(t *testing.T) batch.Files {
		s := serve(t)
		cfg := s.config()
		cfg.Prefix = ""
		return s.open(cfg)
	})
}

func TestPrefixesAreApart(t *testing.T) {
	s := serve(t)
	prefixes := []string{"", "a", "ab", "a/b"}
	var drivers []*Files
	for _, prefix := range prefixes {
		cfg := s.config()
		cfg.Prefix = prefix
		f := s.open(cfg)
		drivers = append(drivers, f)
		mustStore(t, f, "same", []byte("of "+prefix))
		mustStore(t, f, "own-"+strings.ReplaceAll(prefix, "/", "-"), nil)
	}
	for i, f := range drivers {
		holds(t, f, "same", []byte("of "+prefixes[i]))
		want := []string{"own-" + strings.ReplaceAll(prefixes[i], "/", "-"), "same"}
		if keys := filestest.Keys(t, f); !slices.Equal(keys, want) {
			t.Errorf("prefix %q lists %v, want %v", prefixes[i], keys, want)
		}
	}
	if err := drivers[1].Delete(t.Context(), "same"); err != nil {
		t.Fatal(err)
	}
	for i, f := range drivers {
		if _, err := load(t.Context(), f, "same", 0, -1); (err != nil) != (i == 1) {
			t.Errorf("prefix %q after a deletion below %q: %v", prefixes[i], prefixes[1], err)
		}
	}
}

func TestListGoesThroughPages(t *testing.T) {
	s := serve(t)
	f := s.files()
	f.page = 3
	var want []string
	for _, c := range "abcdefghijk" {
		want = append(want, string(c))
		mustStore(t, f, string(c), nil)
	}
	if keys := filestest.Keys(t, f); !slices.Equal(keys, want) {
		t.Errorf("got %v", keys)
	}
	before := len(s.requests("list"))
	// The second and the fourth request fail: no object is visited twice.
	s.fail("list", 1, passOn)
	s.fail("list", 1, refuse(http.StatusServiceUnavailable, "SlowDown"))
	s.fail("list", 1, passOn)
	s.fail("list", 1, hangUp)
	if keys := filestest.Keys(t, f); !slices.Equal(keys, want) {
		t.Errorf("with faults: got %v", keys)
	}
	if n := len(s.requests("list")) - before; n < 6 {
		t.Errorf("%d requests", n)
	}
}

func passOn(w http.ResponseWriter, r *http.Request, real http.Handler) { real.ServeHTTP(w, r) }

func TestPing(t *testing.T) {
	s := serve(t)
	f := s.files() // pings
	for range 10 {
		if err := f.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.requests("ping")); n != 1 {
		t.Errorf("%d probes of many pings in a row", n)
	}
	s.clock.add(goodAnswer)
	s.fail("ping", 1, refuse(http.StatusInsufficientStorage, "XMinioStorageFull"))
	for range 2 {
		if err := f.Ping(t.Context()); !errors.Is(err, batch.ErrNoSpace) {
			t.Errorf("got %v, want ErrNoSpace", err)
		}
	}
	s.clock.add(badAnswer)
	if err := f.Ping(t.Context()); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := serve(t)
	f := s.driver(s.config())
	check := func() {
		t.Helper()
		_, creating := f.Create(t.Context(), "a")
		_, reading := f.Read(t.Context(), "a", 0, -1)
		for _, err := range []error{
			f.Ping(t.Context()), creating, reading, f.Delete(t.Context(), "a"),
			f.List(t.Context(), func(string, time.Time) error { return nil }),
		} {
			if !errors.Is(err, batch.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		}
	}
	check()
	if err := f.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	check()
}

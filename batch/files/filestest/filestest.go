// Package filestest is the conformance suite of batch.Files.
package filestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// Run checks that a driver implements the contract of batch.Files. open returns open
// Files without any content, and closes them when the test ends.
func Run(t *testing.T, open func(t *testing.T) batch.Files) {
	for _, c := range []struct {
		name string
		test func(*testing.T, batch.Files)
	}{
		{"content comes back as it was written", testRoundTrip},
		{"ranges", testRanges},
		{"nothing is seen before commit", testUnseenBeforeCommit},
		{"abort leaves nothing", testAbort},
		{"commit of a cancelled context leaves nothing", testCancelledCommit},
		{"abort after commit does nothing", testAbortAfterCommit},
		{"what does not exist", testNotFound},
		{"delete", testDelete},
		{"a reader outlives a delete or fails, but never lies", testDeleteWhileReading},
		{"list", testList},
		{"list ends with an error of visit", testListStops},
		{"list obeys its context", testListCancelled},
		{"keys that are paths are refused", testBadKeys},
		{"keys that differ little", testSimilarKeys},
		{"concurrent use", testConcurrent},
		{"ping", func(t *testing.T, f batch.Files) {
			if err := f.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

// Keys lists all keys, sorted.
func Keys(t *testing.T, f batch.Files) []string {
	t.Helper()
	var keys []string
	err := f.List(t.Context(), func(key string, _ time.Time) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		t.Errorf("listing: %v", err)
	}
	slices.Sort(keys)
	return keys
}

func write(t *testing.T, f batch.Files, key string, content []byte) {
	t.Helper()
	w, err := f.Create(t.Context(), key)
	if err != nil {
		t.Fatalf("creating %s: %v", key, err)
	}
	for len(content) > 0 { // in odd pieces
		n := min(len(content), 1021)
		if _, err := w.Write(content[:n]); err != nil {
			t.Fatalf("writing %s: %v", key, err)
		}
		content = content[n:]
	}
	if err := w.Commit(t.Context()); err != nil {
		t.Fatalf("committing %s: %v", key, err)
	}
}

func read(t *testing.T, f batch.Files, key string, offset, length int64) []byte {
	t.Helper()
	r, err := f.Read(t.Context(), key, offset, length)
	if err != nil {
		t.Fatalf("reading %s: %v", key, err)
	}
	content, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatalf("reading %s: %v", key, err)
	}
	return content
}

// noise makes n bytes that differ by seed.
func noise(n, seed int) []byte {
	b := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func testRoundTrip(t *testing.T, f batch.Files) {
	for i, size := range []int{0, 1, 4095, 256 << 10, 1<<20 + 7} {
		key := fmt.Sprintf("file-%d", i)
		want := noise(size, i)
		write(t, f, key, want)
		if got := read(t, f, key, 0, -1); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
	}
}

func testRanges(t *testing.T, f batch.Files) {
	content := noise(100_000, 1)
	write(t, f, "a", content)
	for _, c := range []struct{ offset, length, from, to int64 }{
		{0, 0, 0, 0},
		{0, 1, 0, 1},
		{99_999, 1, 99_999, 100_000},
		{99_999, 100, 99_999, 100_000},
		{50_000, -1, 50_000, 100_000},
		{12_345, 54_321, 12_345, 66_666},
		{100_000, -1, 0, 0},
		{100_000, 5, 0, 0},
		{100_001, -1, 0, 0},
		{1 << 40, 5, 0, 0},
	} {
		if got := read(t, f, "a", c.offset, c.length); !bytes.Equal(got, content[c.from:c.to]) {
			t.Errorf("%d bytes from %d: got %d bytes, want those from %d to %d", c.length, c.offset, len(got), c.from, c.to)
		}
	}
	if r, err := f.Read(t.Context(), "a", -1, 1); err == nil {
		_ = r.Close()
		t.Error("read from a negative offset")
	}
}

func absent(t *testing.T, f batch.Files, key string) {
	t.Helper()
	r, err := f.Read(t.Context(), key, 0, -1)
	if err == nil {
		_ = r.Close()
	}
	if !errors.Is(err, batch.ErrNotFound) {
		t.Errorf("reading %s: got %v, want ErrNotFound", key, err)
	}
	if keys := Keys(t, f); slices.Contains(keys, key) {
		t.Errorf("%s is listed in %v", key, keys)
	}
}

func begin(t *testing.T, f batch.Files, key string) batch.FileWriter {
	t.Helper()
	w, err := f.Create(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(600<<10, 1)); err != nil {
		t.Fatal(err)
	}
	return w
}

func testUnseenBeforeCommit(t *testing.T, f batch.Files) {
	w := begin(t, f, "a")
	absent(t, f, "a")
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := read(t, f, "a", 0, -1); len(got) != 600<<10 {
		t.Errorf("%d bytes after commit", len(got))
	}
}

func testAbort(t *testing.T, f batch.Files) {
	w := begin(t, f, "a")
	for range 2 {
		if err := w.Abort(); err != nil {
			t.Errorf("aborting: %v", err)
		}
	}
	absent(t, f, "a")
	write(t, f, "a", []byte("second")) // the key is free again
	if got := read(t, f, "a", 0, -1); string(got) != "second" {
		t.Errorf("got %q", got)
	}
}

func testCancelledCommit(t *testing.T, f batch.Files) {
	w := begin(t, f, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("aborting after a failed commit: %v", err)
	}
	absent(t, f, "a")
}

func testAbortAfterCommit(t *testing.T, f batch.Files) {
	w := begin(t, f, "a")
	if err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("aborting: %v", err)
	}
	if got := read(t, f, "a", 0, -1); len(got) != 600<<10 {
		t.Errorf("%d bytes are left", len(got))
	}
}

func testNotFound(t *testing.T, f batch.Files) {
	absent(t, f, "nothing")
	if err := f.Delete(t.Context(), "nothing"); err != nil {
		t.Errorf("deleting a missing content: %v", err)
	}
	if keys := Keys(t, f); len(keys) > 0 {
		t.Errorf("keys at the start: %v", keys)
	}
}

func testDelete(t *testing.T, f batch.Files) {
	write(t, f, "a", []byte("1"))
	write(t, f, "b", []byte("2"))
	for range 2 {
		if err := f.Delete(t.Context(), "a"); err != nil {
			t.Errorf("deleting: %v", err)
		}
	}
	absent(t, f, "a")
	if got := read(t, f, "b", 0, -1); string(got) != "2" {
		t.Errorf("b is %q", got)
	}
}

func testDeleteWhileReading(t *testing.T, f batch.Files) {
	content := noise(4<<20, 1)
	write(t, f, "a", content)
	r, err := f.Read(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(append(head, rest...), content) {
		t.Errorf("got %d bytes as if they were all", len(head)+len(rest))
	}
}

func testList(t *testing.T, f batch.Files) {
	start := time.Now()
	var want []string
	for i := range 100 {
		key := fmt.Sprintf("file-%03d", i)
		want = append(want, key)
		write(t, f, key, []byte(key))
	}
	if diff := cmp.Diff(want, Keys(t, f)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	err := f.List(t.Context(), func(key string, modified time.Time) error {
		if modified.Before(start.Add(-time.Minute)) || modified.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s was modified at %s", key, modified)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testListStops(t *testing.T, f batch.Files) {
	for i := range 10 {
		write(t, f, fmt.Sprintf("k%d", i), nil)
	}
	stop := errors.New("stop")
	visited := 0
	err := f.List(t.Context(), func(string, time.Time) error {
		visited++
		return stop
	})
	if !errors.Is(err, stop) || visited != 1 {
		t.Errorf("got %v after %d keys", err, visited)
	}
}

func testListCancelled(t *testing.T, f batch.Files) {
	write(t, f, "a", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.List(ctx, func(string, time.Time) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func testBadKeys(t *testing.T, f batch.Files) {
	for _, key := range []string{
		"", ".", "..", "/", "a/b", "../a", "..\\a", "a.b", "a b", "a\x00", "a\n", "ä", "%2e%2e", "tmp/a", strings.Repeat("a", 1000),
	} {
		if w, err := f.Create(t.Context(), key); err == nil {
			t.Errorf("created %q", key)
			_ = w.Abort()
		}
		if r, err := f.Read(t.Context(), key, 0, -1); err == nil {
			t.Errorf("read %q", key)
			_ = r.Close()
		}
		if err := f.Delete(t.Context(), key); err == nil {
			t.Errorf("deleted %q", key)
		}
	}
}

func testSimilarKeys(t *testing.T, f batch.Files) {
	keys := []string{"-", "A", "_", "a-", "a_", "aa", "aaa", "tmp", "lock"}
	for _, key := range keys {
		write(t, f, key, []byte(key))
	}
	for _, key := range keys {
		if got := read(t, f, key, 0, -1); string(got) != key {
			t.Errorf("%s holds %q", key, got)
		}
	}
	slices.Sort(keys)
	if diff := cmp.Diff(keys, Keys(t, f)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func testConcurrent(t *testing.T, f batch.Files) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 10 {
				key := fmt.Sprintf("k%d-%d", i, j)
				if err := writeReadDelete(t.Context(), f, key, noise(10_000, i*10+j), j%2 == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if keys := Keys(t, f); len(keys) != 40 {
		t.Errorf("%d keys are left, want 40", len(keys))
	}
}

func writeReadDelete(ctx context.Context, f batch.Files, key string, content []byte, remove bool) error {
	w, err := f.Create(ctx, key)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := w.Commit(ctx); err != nil {
		return err
	}
	r, err := f.Read(ctx, key, 0, -1)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if !bytes.Equal(got, content) {
		return fmt.Errorf("%s came back as %d other bytes", key, len(got))
	}
	if remove {
		return f.Delete(ctx, key)
	}
	return nil
}

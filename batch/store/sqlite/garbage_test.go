package sqlite

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// TestInputThatExpires has a file expire between the moment that a batch which
// is being made of it has read the clock and its commit.
func TestInputThatExpires(t *testing.T) {
	var (
		clock         = newClock()
		hold          atomic.Bool
		read, release = make(chan struct{}), make(chan struct{})
	)
	s := New(Config{Path: databasePath(t), Now: func() time.Time {
		now := clock.now()
		if hold.CompareAndSwap(true, false) {
			close(read)
			<-release
		}
		return now
	}})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	f, err := s.CreateFile(t.Context(), batch.NewFile{ID: "file-1", Tenant: "acme", Key: "key", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var (
		creating sync.WaitGroup
		created  error
	)
	hold.Store(true)
	creating.Go(func() {
		_, _, created = s.CreateBatch(t.Context(), batch.NewBatch{ID: "batch_1", Tenant: "acme", InputFileID: f.ID, Window: 24 * time.Hour})
	})
	<-read
	clock.advance(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	garbage, err := s.Garbage(ctx, 10)
	if len(garbage) > 0 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("garbage is %q, %v", garbage, err)
	}
	close(release)
	creating.Wait()
	if created != nil {
		t.Fatal(created)
	}
	if input, err := s.InputFile(t.Context(), "batch_1"); err != nil || input.Key != f.Key {
		t.Errorf("the input is %+v, %v", input, err)
	}
	if garbage, err := s.Garbage(t.Context(), 10); err != nil || len(garbage) > 0 {
		t.Errorf("garbage is %q, %v", garbage, err)
	}
}

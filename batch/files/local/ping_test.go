package local

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hungDisk blocks operations until it is released.
type hungDisk struct {
	realDisk
	asked atomic.Int64
	letGo chan struct{}
}

func (d *hungDisk) free(dir string) (int64, error) {
	d.asked.Add(1)
	<-d.letGo
	return d.realDisk.free(dir)
}

// TestPingOfAFileSystemThatHangs checks that Ping returns in time if the file system
// hangs, and that hanging system calls do not accumulate.
func TestPingOfAFileSystemThatHangs(t *testing.T) {
	f := open(t, Config{Dir: t.TempDir()})
	disk := &hungDisk{letGo: make(chan struct{})}
	f.disk = disk
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		answered := make(chan error, 1)
		go func() { answered <- f.Ping(ctx) }()
		select {
		case err := <-answered:
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "does not answer") {
				t.Errorf("got %v, want context.DeadlineExceeded", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("it waits")
		}
		cancel()
	}
	if n := disk.asked.Load(); n != 1 {
		t.Errorf("%d system calls hang", n)
	}
	close(disk.letGo)
	if err := f.Ping(t.Context()); err != nil {
		t.Errorf("it answers again: %v", err)
	}
}

package engine_test

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

func TestRestartGoesOn(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 30})
	answer, open := batchtest.First(333)
	h.Pool.Answer = answer
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(1000)))
	h.WaitCounted(id, 333)
	h.Close(0) // lines that run are aborted and released
	h.Open()
	open()
	b := h.Wait(id)
	h.Check(b, 1000)
	if r := h.Pool.Repeated(); r > 30 {
		t.Errorf("%d calls repeated, at most 30 were in flight", r)
	}
}

func TestDrainLetsLinesFinish(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{MaxInFlight: 30})
	answer, open := batchtest.First(100)
	h.Pool.Answer = answer
	h.Pool.Received = make(chan string, 1000)
	h.Open()
	id := h.Create(h.Upload(batchtest.Input(300)))
	for range 130 {
		<-h.Pool.Received
	}
	time.AfterFunc(50*time.Millisecond, open)
	h.Close(batchtest.Patience)
	h.Open()
	b := h.Wait(id)
	h.Check(b, 300)
	if r := h.Pool.Repeated(); r != 0 {
		t.Errorf("%d calls repeated: running lines were to finish", r)
	}
}

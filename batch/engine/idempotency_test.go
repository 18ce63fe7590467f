package engine_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// A key whose batch was deleted makes no batch again, and names none that is not there.
func TestIdempotencyKeyOfADeletedBatch(t *testing.T) {
	t.Parallel()
	h := newHarness(t, batch.Config{})
	h.Open()
	create := func(key string) (batch.Batch, error) {
		return h.Engine.CreateBatch(t.Context(), tenant, batch.CreateRequest{
			InputFileID: "file-none", Endpoint: "/v1/chat/completions", CompletionWindow: "24h", Window: 24 * time.Hour, IdempotencyKey: key, RequestHash: "h",
		})
	}
	first, err := create("k")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := create("k"); err != nil || again.ID != first.ID {
		t.Errorf("the key gave %s, %v, want %s", again.ID, err, first.ID)
	}
	if _, err := h.Engine.DeleteBatch(t.Context(), tenant, first.ID, batch.Deletion{}); err != nil {
		t.Fatal(err)
	}
	_, err = create("k")
	if e, ok := errors.AsType[*batch.StateError](err); !ok || e.BatchID != first.ID || !errors.Is(err, batch.ErrKeyOfDeleted) {
		t.Errorf("the key of a deleted batch: got %v, want a StateError of %s with ErrKeyOfDeleted", err, first.ID)
	}
	if other, err := create("another"); err != nil || other.ID == first.ID {
		t.Errorf("another key gave %s, %v, want a new batch", other.ID, err)
	}
}

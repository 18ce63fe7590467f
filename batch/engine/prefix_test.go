package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/batchtest"
)

// TestLinesThatShareAPrefix checks that lines whose prompts share a prefix run one after
// the other, wherever they are in the input.
func TestLinesThatShareAPrefix(t *testing.T) {
	t.Parallel()
	const groups, of, slots = 20, 20, 1 // one slot: the order is that of the starts
	h := newHarness(t, batch.Config{MaxInFlight: slots})
	h.Pool.Room = map[string]int{"m": 0} // until all lines have been read
	var contents []string
	for g := range groups {
		for n := range of {
			contents = append(contents, strings.Repeat(fmt.Sprintf("document %d ", g), 100)+fmt.Sprint(n))
		}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(contents), func(i, j int) { contents[i], contents[j] = contents[j], contents[i] })
	var in strings.Builder
	bodies := int64(0)
	for i, content := range contents {
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%s"}]}`, content)
		bodies += int64(len(body))
		fmt.Fprintf(&in, `{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%s}`+"\n", i, body)
	}
	var mu sync.Mutex
	changes, last := 0, ""
	h.Pool.Answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		mu.Lock()
		defer mu.Unlock()
		if document := strings.Fields(id)[1]; document != last {
			changes, last = changes+1, document
		}
		return batchtest.OK(id), nil
	}
	h.Open()
	id := h.Create(h.Upload(in.String()))
	batchtest.Until(t, "all lines are read", func() bool { return h.Engine.Capacity().Memory.Taken == bodies })
	h.Pool.Set(func() { h.Pool.Room["m"] = slots })
	b := h.Wait(id)
	if b.Counts.Completed != groups*of {
		t.Errorf("got %+v, want %d completed lines", b.Counts, groups*of)
	}
	if changes != groups {
		t.Errorf("got %d changes of the prefix, want %d", changes, groups)
	}
	for i, r := range h.Read(b.OutputFileID) {
		if r.CustomID != fmt.Sprint(i) {
			t.Fatalf("line %d of the output has the custom id %s, want %d", i, r.CustomID, i)
		}
	}
}

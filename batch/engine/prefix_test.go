package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/batch"
)

// TestLinesThatShareAPrefix checks that lines whose prompts share a prefix run one after
// the other, wherever they are in the input.
func TestLinesThatShareAPrefix(t *testing.T) {
	const groups, of, slots = 20, 20, 1 // one slot: the order is that of the starts
	h := newHouse(t, batch.Config{MaxInFlight: slots})
	h.pool.room = map[string]int{"m": 0} // until all lines have been read
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
	h.pool.answer = func(_ context.Context, id string, _ int) (batch.Answer, error) {
		mu.Lock()
		defer mu.Unlock()
		if document := strings.Fields(id)[1]; document != last {
			changes, last = changes+1, document
		}
		return ok(id), nil
	}
	h.open()
	id := h.create(h.upload(in.String()))
	h.until("all lines are read", func() bool { return h.engine.Capacity().Memory.Taken == bodies })
	h.pool.set(func() { h.pool.room["m"] = slots })
	b := h.wait(id)
	if b.Counts.Completed != groups*of {
		t.Errorf("got %+v, want %d completed lines", b.Counts, groups*of)
	}
	if changes != groups {
		t.Errorf("got %d changes of the prefix, want %d", changes, groups)
	}
	for i, r := range h.read(b.OutputFileID) {
		if r.CustomID != fmt.Sprint(i) {
			t.Fatalf("line %d of the output has the custom id %s, want %d", i, r.CustomID, i)
		}
	}
}

package prefix

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

func text(blocks int, random *rand.Rand) []byte {
	b := make([]byte, blocks*BlockBytes)
	for i := range b {
		b[i] = byte('a' + random.IntN(26))
	}
	return b
}

func TestAppend(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	common, end := text(5, random), text(3, random)
	seed := Seed("m")
	chain := func(seed uint64, parts ...[]byte) Chain { return Append(nil, seed, parts...) }
	alike := func(a, b Chain) (n int) {
		for n < min(len(a), len(b)) && a[n] == b[n] {
			n++
		}
		return n
	}
	a := chain(seed, common)
	if len(a) != 5 {
		t.Fatalf("got %d blocks of 5", len(a))
	}
	if got := chain(seed, append(slices.Clone(common), "rest"...)); !slices.Equal(got, a) {
		t.Error("a rest that fills no block changes the chain")
	}
	if got := alike(a, chain(seed, append(slices.Clone(common), end...))); got != 5 {
		t.Errorf("got %d equal blocks of a longer prompt, want 5", got)
	}
	changed := slices.Clone(common)
	changed[2*BlockBytes]++
	if got := alike(a, chain(seed, changed)); got != 2 {
		t.Errorf("got %d blocks alike up to a change in the third, want 2", got)
	}
	if got := alike(a, chain(Seed("other"), common)); got != 0 {
		t.Errorf("got %d blocks alike of two models, want 0", got)
	}
	if got := chain(seed, []byte("tools"), common); len(got) != 6 || alike(got[1:], a) != 0 {
		t.Errorf("got %d blocks behind tools, want 6 others", len(got))
	}
	if got := chain(seed, bytes.Repeat(common, MaxBlocks)); len(got) != MaxBlocks {
		t.Errorf("got %d blocks, want at most %d", len(got), MaxBlocks)
	}
}

// TestCache compares with a plain list of the blocks in the order of use.
func TestCache(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	const capacity = 40
	c := NewCache(capacity)
	var prompts []Chain
	for i := range 12 {
		beginning := text(1+random.IntN(12), random)
		prompts = append(prompts, Append(nil, Seed("m"), beginning))
		if i%2 == 0 { // another begins as this one does
			prompts = append(prompts, Append(nil, Seed("m"), append(beginning, text(1+random.IntN(12), random)...)))
		}
	}
	var list []uint64 // the newest last
	for step := range 3000 {
		p := prompts[random.IntN(len(prompts))]
		want := 0
		for want < len(p) && slices.Contains(list, p[want]) {
			want++
		}
		if got := c.Has(p); got != want {
			t.Fatalf("step %d: got %d blocks of %d, want %d", step, got, len(p), want)
		}
		c.Use(p)
		for _, hash := range slices.Backward(p) {
			list = append(slices.DeleteFunc(list, func(h uint64) bool { return h == hash }), hash)
		}
		list = list[max(0, len(list)-capacity):]
		if blocks, room := c.Len(); blocks != len(list) || room != capacity {
			t.Fatalf("step %d: got %d blocks of %d, want %d of %d", step, blocks, room, len(list), capacity)
		}
	}
	c.Resize(5)
	if blocks, _ := c.Len(); blocks != 5 {
		t.Errorf("got %d blocks in a cache that was made smaller, want 5", blocks)
	}
	if last := list[len(list)-1]; c.Has(Chain{last}) != 1 {
		t.Error("the newest block was left out")
	}
	c.Clear()
	if blocks, _ := c.Len(); blocks != 0 || c.Has(prompts[0]) != 0 {
		t.Errorf("got %d blocks after Clear", blocks)
	}
	none := NewCache(0)
	none.Use(prompts[0])
	if none.Has(prompts[0]) != 0 {
		t.Error("a cache without room has blocks")
	}
}

// TestCacheIsReadWhileItChanges checks that a reader finds blocks that are not removed.
func TestCacheIsReadWhileItChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	c := NewCache(64)
	kept := Append(nil, 1, text(8, random))
	c.Use(kept)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = c.Has(kept)
				}
			}
		})
	}
	for range 2000 {
		c.Use(Append(nil, 1, text(4, random)))
		c.Use(kept)
	}
	close(done)
	readers.Wait()
	if got := c.Has(kept); got != len(kept) {
		t.Errorf("got %d blocks of %d", got, len(kept))
	}
}

// BenchmarkDecision measures the comparison of 24 servers for a prompt of 16 KB, each with a
// different cached part.
func BenchmarkDecision(b *testing.B) {
	random := rand.New(rand.NewPCG(7, 8))
	prompt := text(64, random)
	chain := Append(nil, 1, prompt)
	var servers [24]*Cache
	for i := range servers {
		servers[i] = NewCache(6250)
		for range 200 {
			servers[i].Use(Append(nil, 1, text(32, random)))
		}
		servers[i].Use(chain[:i*64/24])
	}
	room := make(Chain, 0, 64)
	for b.Loop() {
		chain := Append(room, 1, prompt)
		for _, s := range servers {
			_ = s.Has(chain)
		}
	}
}

package upstreams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/upstreams/prefix"
)

// TestConversationsStay checks that a conversation continues on the server that has its
// beginning in the cache, while others run.
func TestConversationsStay(t *testing.T) {
	const conversations, turns, turnTokens = 40, 6, 500
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}, {slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		var cached, prompt atomic.Int64
		w.proxy = NewProxy(w.pool, zap.NewNop(), func(_ context.Context, l LiveRequest) {
			cached.Add(l.Usage.InputTokensDetails.CachedTokens)
			prompt.Add(l.Usage.InputTokens)
		})
		random := rand.New(rand.NewPCG(1, 2))
		var work sync.WaitGroup
		for c := range conversations {
			begin := time.Duration(random.IntN(60_000)) * time.Millisecond
			work.Go(func() {
				time.Sleep(begin)
				text := ""
				for turn := range turns {
					part := fmt.Sprintf("conversation %d turn %d ", c, turn)
					text += strings.Repeat(part, 4*turnTokens/len(part))
					body := fmt.Sprintf(`{"model":%q,"stream":true,"stream_options":{"include_usage":true},"max_tokens":8,"messages":[{"role":"user","content":"%s"}]}`, model, text)
					w.sendOverlapping(t, body)
					time.Sleep(3 * time.Second)
				}
			})
		}
		work.Wait()
		// Without a cache every turn is read again: 1 + 2 + … + 6 turns, of which all but
		// the newest could be cached.
		ideal := 1 - float64(turns)/(turns*(turns+1)/2)
		if got := float64(cached.Load()) / float64(prompt.Load()); got < 0.93*ideal {
			t.Errorf("got %.2f of the prompts from the cache, want nearly %.2f", got, ideal)
		}
	})
}

// TestPromptsAreSpread checks that prompts which begin alike are not all sent to the
// server that has the beginning, while others have nothing to do.
func TestPromptsAreSpread(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		var used sync.Map
		w.proxy = NewProxy(w.pool, zap.NewNop(), func(_ context.Context, l LiveRequest) { used.Store(l.Upstream, true) })
		for i := range 4 { // so that the speeds are known
			w.send(t, chat(fmt.Sprint("warm ", i), 500, true))
		}
		used.Clear()
		common := strings.Repeat("all of them begin so ", 400)
		var work sync.WaitGroup
		for i := range 20 {
			work.Go(func() {
				own := strings.Repeat(fmt.Sprintf("and end as %d ", i), 1000)
				w.sendOverlapping(t, fmt.Sprintf(`{"model":%q,"max_tokens":8,"messages":[{"role":"user","content":"%s"}]}`, model, common+own))
			})
		}
		work.Wait()
		servers := 0
		used.Range(func(any, any) bool { servers++; return true })
		if servers != 2 {
			t.Errorf("got requests on %d servers, want 2", servers)
		}
	})
}

// TestPrefixesOfARestartedServer checks that nothing is predicted of a server that was
// started anew.
func TestPrefixesOfARestartedServer(t *testing.T) {
	chain := chainOf("m", []byte(`{"prompt":"`+strings.Repeat("some text ", 200)+`"}`))
	full := Facts{Blocks: 1000, BlockSize: 16}
	counters := func(tokens float64) *gauges { return &gauges{present: true, hasTokens: true, prompt: tokens} }
	var x prefixes
	x.update(&gauges{}, counters(1000), &full)
	x.Use(chain)
	x.update(counters(1000), counters(2000), &full)
	if got := x.Has(chain); got != len(chain) {
		t.Errorf("got %d blocks of %d on a server that continued", got, len(chain))
	}
	x.update(counters(2000), counters(10), &full)
	if got := x.Has(chain); got != 0 {
		t.Errorf("got %d blocks of a restarted server, want 0", got)
	}
	if off := (Facts{PrefixCaching: "False", Blocks: 1000, BlockSize: 16}); prefixCapacity(&off) != 0 {
		t.Error("a server without a prefix cache has a capacity")
	}
}

// TestPrefixesAreCorrected checks that a server which reports fewer cached tokens than
// predicted is given a smaller capacity, and gets it back.
func TestPrefixesAreCorrected(t *testing.T) {
	var x prefixes
	facts := Facts{Blocks: 1 << 12, BlockSize: 16}
	capacity := func() int {
		x.update(&gauges{}, &gauges{}, &facts)
		_, n := x.Len()
		return n
	}
	usage := func(cached int64) openai.Usage {
		u := openai.Usage{InputTokens: 1000}
		u.InputTokensDetails.CachedTokens = cached
		return u
	}
	all := capacity()
	if want := 1 << 12 * 16 * 4 / prefix.BlockBytes; all != want {
		t.Fatalf("got %d blocks, want %d", all, want)
	}
	for range 10 {
		x.correct(0.8, usage(100))
	}
	less := capacity()
	if less > all*2/3 || less < all/2 {
		t.Errorf("got %d blocks after ten wrong predictions, want 0.6 of %d", less, all)
	}
	for range 200 {
		x.correct(0.8, usage(100))
	}
	if least := capacity(); least != all/16 {
		t.Errorf("got %d blocks at least, want %d", least, all/16)
	}
	for range 1000 {
		x.correct(0.8, usage(790))
	}
	if got := capacity(); got != all {
		t.Errorf("got %d blocks after correct predictions, want %d", got, all)
	}
	x.correct(0, usage(0)) // nothing was predicted
	if got := capacity(); got != all {
		t.Errorf("got %d blocks after a prompt without a prediction, want %d", got, all)
	}
}

// TestClientsAreNotMixed checks that prompts with another salt, and of another model, are
// not taken for cached.
func TestClientsAreNotMixed(t *testing.T) {
	body := func(salt string) []byte {
		return []byte(`{"prompt":"` + strings.Repeat("some text ", 200) + `","cache_salt":"` + salt + `"}`)
	}
	var x prefixes
	x.Resize(1000)
	x.Use(chainOf("m", body("a")))
	for name, chain := range map[string]prefix.Chain{"salt": chainOf("m", body("b")), "model": chainOf("other", body("a"))} {
		if got := x.Has(chain); got != 0 {
			t.Errorf("got %d blocks for another %s, want 0", got, name)
		}
	}
	if chainOf("m", []byte(`{"model":"m"}`)) != nil {
		t.Error("a request without a prompt has a chain")
	}
}

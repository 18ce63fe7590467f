package several

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/pgtest"
)

const (
	lines    = 1500
	inFlight = 40
)

// ask returns lines with a unique name.
func ask(t *testing.T, name string, n int) []byte {
	return tidegatetest.BatchInput(t, n, func(i int) string { return fmt.Sprintf("%s, line %d", name, i) })
}

// wantCompleted waits for a batch by one of the gateways and checks it by it.
func wantCompleted(t *testing.T, g *tidegatetest.Gateway, id string, input []byte, n int64) {
	t.Helper()
	b := g.WaitEnd(t, id, 2*time.Minute)
	g.Results(t, b, input)
	if b.Status != "completed" || b.RequestCounts != (openai.RequestCounts{Total: n, Completed: n}) {
		t.Errorf("%s is %s with %+v", id, b.Status, b.RequestCounts)
	}
}

// Three gateways share the batches that any of them is given, beside live
// traffic; one is killed and comes back; another leaves gracefully. Every
// line ends once, and only what was in flight at the kill runs again.
func TestThreeGateways(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 3, "--ttft", "60ms")
	gateways := start(t, s.settings(sims, inFlight), 3)
	inputs := make(map[string][]byte)
	for i, g := range gateways {
		input := ask(t, fmt.Sprint("batch ", i), lines)
		inputs[g.Submit(t, input).ID] = input
	}
	load := gateways[0].StartLoad(t, 30, func(i int) ([]byte, bool) {
		return tidegatetest.ChatBody(t, fmt.Sprint("live ", i), i%2 == 0), i%2 == 0
	})
	for _, g := range gateways { // each works and knows all others
		tidegatetest.Eventually(t, time.Minute, "the gateway has lines in flight", func() bool { return g.Health(t).Batch.InFlight > 0 })
		for id := range inputs {
			g.Batch(t, id)
		}
	}
	gateways[2].Kill(t)
	load.WaitEnded(t, 20)
	gateways[2].Start(t)
	gateways[1].Stop(t)
	for id, input := range inputs {
		wantCompleted(t, gateways[0], id, input, lines)
	}
	sent := load.Stop()
	for _, l := range sent {
		if err := l.Check(); err != nil {
			t.Error(err)
		}
	}
	distinct, again := repeated(t, sims)
	if want := int64(3*lines + len(sent)); distinct != want {
		t.Errorf("%d different requests, want %d", distinct, want)
	}
	if again > inFlight {
		t.Errorf("%d calls repeated by a kill with at most %d lines in flight", again, inFlight)
	}
	t.Logf("%d requests, %d calls repeated", distinct, again)
}

// One batch is spread over all gateways, also when one of them could have read
// all of it ahead.
func TestBatchIsSpread(t *testing.T) {
	t.Parallel()
	const slices = 12
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 1, "--ttft", "1s")
	gateways := start(t, s.settings(sims, 256), 3) // the server has 85 slots for each
	for _, g := range gateways {
		tidegatetest.Eventually(t, 30*time.Second, "the limit is shared", func() bool { return g.Health(t).Upstreams[0].Limit == 85 })
	}
	input := ask(t, "spread", slices*batch.SliceLines)
	wantCompleted(t, gateways[0], gateways[0].Submit(t, input).ID, input, slices*batch.SliceLines)
	for i, g := range gateways {
		if n := g.Metric(t, `tidegate_batch_lines_total{outcome="completed"}`); n < batch.SliceLines {
			t.Errorf("gateway %d ran %.0f lines of %d", i, n, slices*batch.SliceLines)
		}
	}
	if _, again := repeated(t, sims); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
}

// TestSharedPrefixes checks that a batch whose lines share prefixes, and whose requests do not
// fit into memory, has each line done once: a gateway has claimed all of it when another one
// comes, is killed and comes back, and the other one leaves. It finds lines that are lost with
// the slices of which a gateway keeps some, and requests that are read again wrongly.
func TestSharedPrefixes(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 2, "--ttft", "500ms")
	settings := s.settings(sims, inFlight)
	settings.Batch = strings.Replace(settings.Batch, "lease 3s", "lease 3s\n\t\tmemory 2MiB", 1)
	gateways := start(t, settings, 1)
	input := tidegatetest.BatchInput(t, lines, func(i int) string {
		return strings.Repeat(fmt.Sprintf("document %d; ", i*7%25), 400) + fmt.Sprint("line ", i)
	})
	if len(input) < 3<<20 {
		t.Fatalf("the input has %d bytes, want more than fit into memory", len(input))
	}
	id := gateways[0].Submit(t, input).ID
	gateways[0].WaitCompleted(t, id, 200, time.Minute)
	gateways = append(gateways, tidegatetest.Run(t, settings))
	tidegatetest.Eventually(t, time.Minute, "the other works on it", func() bool { return gateways[1].Health(t).Batch.InFlight > 0 })
	gateways[0].WaitCompleted(t, id, 400, time.Minute)
	gateways[0].Kill(t)
	gateways[1].WaitCompleted(t, id, 700, time.Minute)
	gateways[0].Start(t)
	gateways[0].WaitCompleted(t, id, 1000, time.Minute)
	gateways[1].Stop(t)
	wantCompleted(t, gateways[0], id, input, lines)
	distinct, again := repeated(t, sims)
	if distinct != lines || again > inFlight {
		t.Errorf("%d different requests, %d calls repeated, want %d and those of a kill with at most %d lines in flight", distinct, again, lines, inFlight)
	}
	t.Logf("%d calls repeated", again)
}

// TestLoadsAreKnown checks that gateways know the requests in flight of the others, and
// divide the batch slots of a server.
func TestLoadsAreKnown(t *testing.T) {
	t.Parallel()
	const atOnce = 6 // less than a gateway's part of what a new server is given
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 1, "--ttft", "20s")
	gateways := start(t, s.settings(sims, atOnce), 2)
	for _, g := range gateways {
		tidegatetest.Eventually(t, 30*time.Second, "the limit is shared", func() bool { return g.Health(t).Upstreams[0].Limit == 128 })
	}
	b := gateways[0].Submit(t, ask(t, "slow", 64))
	for _, g := range gateways {
		tidegatetest.Eventually(t, 30*time.Second, "each knows of the other's lines", func() bool {
			u := g.Health(t).Upstreams[0]
			return u.Batch+u.Others == atOnce
		})
	}
	gateways[1].CancelBatch(t, b.ID)
	// A live request of the one, of 160 kB, waits for its first token.
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		gateways[0].Chat(ctx, fmt.Appendf(nil, `{"model":"sim","stream":true,"messages":[{"role":"user","content":%q}]}`, strings.Repeat("wait", 40_000)), nil)
	}()
	tidegatetest.Eventually(t, 15*time.Second, "the other knows how much the server has to read", func() bool {
		return gateways[0].Health(t).Upstreams[0].Pending > 30_000 && gateways[1].Health(t).Upstreams[0].OthersPending > 20_000
	})
	leave()
	<-gone
	tidegatetest.Eventually(t, 15*time.Second, "the other knows that it has no more", func() bool {
		return gateways[0].Health(t).Upstreams[0].Pending < 20_000 && gateways[1].Health(t).Upstreams[0].OthersPending == 0
	})
	gateways[1].Stop(t)
	tidegatetest.Eventually(t, 30*time.Second, "the one that is left has all", func() bool {
		u := gateways[0].Health(t).Upstreams[0]
		return u.Limit == 256 && u.Others == 0
	})
}

// TestStopHandsOver checks that another gateway claims the unfinished lines of a stopped one
// at once.
func TestStopHandsOver(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 1, "--ttft", "300ms")
	settings := s.settings(sims, 20)
	settings.Batch = strings.Replace(settings.Batch, "lease 3s", "lease 10m", 1) // nothing is taken over by that
	gateways := start(t, settings, 1)
	input := ask(t, "handed over", 400)
	id := gateways[0].Submit(t, input).ID
	gateways[0].WaitCompleted(t, id, 1, time.Minute)
	gateways = append(gateways, tidegatetest.Run(t, settings))
	gateways[0].Signal(t, syscall.SIGTERM)
	tidegatetest.Eventually(t, time.Minute, "the other works on it", func() bool { return gateways[1].Health(t).Batch.InFlight > 0 })
	if code := gateways[0].Wait(t); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	wantCompleted(t, gateways[1], id, input, 400)
	if distinct, again := repeated(t, sims); distinct != 400 || again != 0 {
		t.Errorf("%d different requests, %d calls repeated", distinct, again)
	}
}

// TestStopKeepsOnlyWhatHasBegun checks that a stopping gateway keeps only the running lines
// of a slice, until they end or the gateway dies.
func TestStopKeepsOnlyWhatHasBegun(t *testing.T) {
	t.Parallel()
	const atOnce = 12 // less than what a new server is given
	for name, killed := range map[string]bool{"finished": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShared(t)
			sims := tidegatetest.StartSims(t, 1)
			settings := s.settings(sims, atOnce)
			hold := "10m"
			if !killed {
				hold = "9s"
				settings.Batch = strings.Replace(settings.Batch, "lease 3s", "lease 10m", 1) // nothing is taken over by that
			}
			gateways := start(t, settings, 1)
			// The first lines fill all places, and run until the other gateway works. Where
			// they run again, they end at once.
			input := tidegatetest.BatchInput(t, 64, func(i int) string {
				prompt := fmt.Sprint("one slice, line ", i)
				if i < atOnce {
					prompt += " [[sim:slow=" + hold + ",times=1]]"
				}
				return prompt
			})
			id := gateways[0].Submit(t, input).ID
			tidegatetest.Eventually(t, time.Minute, "it has begun", func() bool { return sims[0].Stats(t).Running == atOnce })
			gateways = append(gateways, tidegatetest.Run(t, settings))
			gateways[0].Signal(t, syscall.SIGTERM)
			tidegatetest.Eventually(t, time.Minute, "the other works on it", func() bool { return gateways[1].Batch(t, id).RequestCounts.Completed > 0 })
			want := int64(0)
			if killed {
				gateways[0].Kill(t)
				want = atOnce
			} else if code := gateways[0].Wait(t); code != 0 {
				t.Errorf("it ended with %d", code)
			}
			wantCompleted(t, gateways[1], id, input, 64)
			if distinct, again := repeated(t, sims); distinct != 64 || again != want {
				t.Errorf("%d different requests, %d calls repeated, want 64 and %d", distinct, again, want)
			}
		})
	}
}

// TestOtherDirectoryIsRefused checks that a gateway with another directory exits with the
// reason.
func TestOtherDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 1)
	start(t, s.settings(sims, inFlight), 1)
	s.backend.Dir = t.TempDir()
	g := tidegatetest.Persist(t, s.settings(sims, inFlight))
	if code := g.Wait(t); code == 0 || !strings.Contains(g.Log(t), "uses the same store with other files") {
		t.Errorf("it ended with %d:\n%s", code, g.Log(t))
	}
}

// Without Redis batches continue with the store, and with Redis when it is back,
// empty.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 2, "--ttft", "50ms")
	gateways := start(t, s.settings(sims, inFlight), 2)
	one, two := ask(t, "one", lines), ask(t, "two", lines)
	first := gateways[0].Submit(t, one).ID
	gateways[0].WaitCompleted(t, first, 100, time.Minute)
	load := gateways[0].StartLoad(t, 30, func(i int) ([]byte, bool) { return tidegatetest.ChatBody(t, fmt.Sprint("live ", i), false), false })
	if err := s.Redis.Kill(); err != nil {
		t.Fatal(err)
	}
	second := gateways[1].Submit(t, two).ID
	tidegatetest.Eventually(t, time.Minute, "it says so", func() bool {
		h := gateways[0].Health(t)
		return h.Status == "degraded" && h.Batch.Queue != "ok" && h.Batch.Store == "ok"
	})
	wantCompleted(t, gateways[1], first, one, lines)
	wantCompleted(t, gateways[0], second, two, lines)
	if err := s.Redis.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways {
		tidegatetest.Eventually(t, time.Minute, "status ok", func() bool { return g.Health(t).Status == "ok" })
	}
	three := ask(t, "three", lines)
	wantCompleted(t, gateways[1], gateways[0].Submit(t, three).ID, three, lines)
	sent := load.Stop()
	for _, l := range sent {
		if err := l.Check(); err != nil {
			t.Error(err)
		}
	}
	if _, again := repeated(t, sims); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
}

// TestRedisRefusesWrites checks that a Redis that refuses writes is reported, and that
// batches continue with the store.
func TestRedisRefusesWrites(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 2)
	gateways := start(t, s.settings(sims, inFlight), 2)
	if _, err := s.Redis.Do("CONFIG", "SET", "maxmemory", "1"); err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways {
		h := g.Health(t)
		if h.Status != "degraded" || !strings.Contains(h.Batch.Queue, "OOM") || h.Batch.Store != "ok" {
			t.Errorf("%+v", h)
		}
	}
	one := ask(t, "one", lines)
	wantCompleted(t, gateways[1], gateways[0].Submit(t, one).ID, one, lines)
	if _, err := s.Redis.Do("CONFIG", "SET", "maxmemory", "0"); err != nil {
		t.Fatal(err)
	}
	for _, g := range gateways {
		tidegatetest.Eventually(t, time.Minute, "status ok", func() bool { return g.Health(t).Status == "ok" })
	}
	two := ask(t, "two", lines)
	wantCompleted(t, gateways[0], gateways[1].Submit(t, two).ID, two, lines)
	if _, again := repeated(t, sims); again != 0 {
		t.Errorf("%d calls repeated", again)
	}
}

// TestPostgresAway checks that without PostgreSQL live requests are answered, the batch API
// returns Retry-After, and held results are committed when it is back: no line runs twice.
func TestPostgresAway(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	sims := tidegatetest.StartSims(t, 2, "--ttft", "500ms")
	gateways := start(t, s.settings(sims, inFlight), 2)
	input := ask(t, "held", lines)
	id := gateways[0].Submit(t, input).ID
	gateways[0].WaitCompleted(t, id, 100, time.Minute)
	load := gateways[0].StartLoad(t, 50, func(i int) ([]byte, bool) { return tidegatetest.ChatBody(t, fmt.Sprint("live ", i), false), false })
	for _, how := range []syscall.Signal{pgtest.Fast, pgtest.Immediate} {
		if err := s.Postgres.Stop(how); err != nil {
			t.Fatal(err)
		}
		tidegatetest.Eventually(t, time.Minute, "it says so", func() bool { return gateways[0].Health(t).Status == "degraded" })
		answer, err := http.Get(gateways[0].URL + "/v1/batches/" + id)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close() != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("the batch API answers %d, %v", answer.StatusCode, answer.Header)
		}
		load.WaitEnded(t, 300) // longer than a lease
		if err := s.Postgres.Start(); err != nil {
			t.Fatal(err)
		}
		before := int64(-1)
		tidegatetest.Eventually(t, 10*time.Second, "it gets on", func() bool {
			b := gateways[1].Batch(t, id)
			if before < 0 {
				before = b.RequestCounts.Completed
			}
			return b.Status == "completed" || b.RequestCounts.Completed > before
		})
	}
	wantCompleted(t, gateways[1], id, input, lines)
	sent := load.Stop()
	for _, l := range sent {
		if err := l.Check(); err != nil {
			t.Error(err)
		}
	}
	if distinct, again := repeated(t, sims); distinct != int64(lines+len(sent)) || again != 0 {
		t.Errorf("%d different requests, want %d; %d calls repeated", distinct, lines+len(sent), again)
	}
}

// TestServersComeLater checks that a gateway that starts before its PostgreSQL and Redis
// serves live requests, and batches once they are available.
func TestServersComeLater(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	if err := s.Postgres.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	if err := s.Redis.Stop(); err != nil {
		t.Fatal(err)
	}
	sims := tidegatetest.StartSims(t, 1)
	settings := s.settings(sims, inFlight)
	settings.App += "\nauth off" // otherwise clients wait until it knows whether keys are required
	g := tidegatetest.Run(t, settings)
	body := tidegatetest.ChatBody(t, "hello", false)
	if l := g.Chat(t.Context(), body, nil); l.Check(body, false) != nil {
		t.Errorf("live: %+v", l)
	}
	if h := g.Health(t); h.Status != "degraded" {
		t.Errorf("health %+v", h)
	}
	if err := s.Postgres.Start(); err != nil {
		t.Fatal(err)
	}
	tidegatetest.Eventually(t, 30*time.Second, "the store is open", func() bool { return g.Health(t).Batch.Store == "ok" })
	input := ask(t, "later", 200)
	wantCompleted(t, g, g.Submit(t, input).ID, input, 200)
	if err := s.Redis.Restart(); err != nil {
		t.Fatal(err)
	}
	tidegatetest.Eventually(t, 30*time.Second, "status ok", func() bool { return g.Health(t).Status == "ok" })
}

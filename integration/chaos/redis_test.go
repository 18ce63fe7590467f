package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// redisFault is what can become of Redis. It has ended when do returns.
type redisFault struct {
	name string
	do   func(w *world) error
}

var redisFaults = []redisFault{
	{"a kill, and a start without anything", func(w *world) error {
		if err := w.servers.Redis.Kill(); err != nil {
			return err
		}
		w.wantProgress(progressIn, "Redis was killed") // while it is away
		w.while()
		return w.servers.Redis.Restart()
	}},
	{"a restart, empty", func(w *world) error { return w.servers.Redis.Restart() }},
	{"FLUSHALL", func(w *world) error { return w.redis("FLUSHALL") }},
	{"no memory left", func(w *world) error {
		if err := w.redis("CONFIG", "SET", "maxmemory", "1"); err != nil {
			return err
		}
		w.wantProgress(progressIn, "Redis had no memory left")
		w.while()
		return w.redis("CONFIG", "SET", "maxmemory", "0")
	}},
	{"connections cut", func(w *world) error {
		for range 20 {
			for _, kind := range []string{"normal", "pubsub"} {
				if err := w.redis("CLIENT", "KILL", "TYPE", kind); err != nil {
					return err
				}
			}
			<-time.After(between(w.random, 0, 100*time.Millisecond)) // the moment of the cut
		}
		return nil
	}},
	{"streams of the wrong type", func(w *world) error {
		keys, err := w.servers.Redis.Do("KEYS", "*")
		if err != nil {
			return err
		}
		for _, key := range keys.([]any) {
			if err := w.redis("SET", key.(string), "not a stream"); err != nil {
				return err
			}
		}
		return nil
	}},
	{"no answer", func(w *world) error {
		if err := w.servers.Redis.Pause(); err != nil {
			return err
		}
		w.wantProgress(progressIn, "Redis stopped answering")
		w.while()
		return w.servers.Redis.Resume()
	}},
}

// while is how long something stays broken.
func (w *world) while() { <-time.After(between(w.random, time.Second, 6*time.Second)) }

func (w *world) redis(args ...string) error {
	_, err := w.servers.Redis.Do(args...)
	if err != nil && strings.HasPrefix(err.Error(), "CLIENT") { // nobody was there to be cut
		return nil
	}
	return err
}

// Whatever becomes of Redis, batches go on by the store, no line runs twice, and
// live requests do not notice.
func TestRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tidegatetest.StartServers(t, tidegatetest.PostgresRedis), plan{gateways: 3, clients: clients})
	live := w.startLive()
	faults := series(w.random, redisFaults, func(f redisFault) string { return f.name })
	for i := range rounds(*redis) {
		w.wantWell() // or else nobody asks Redis
		w.wantProgress(progressIn, "Redis was well")
		f := faults(i)
		t.Log(f.name)
		if err := f.do(w); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		w.wantProgress(progressIn, f.name)
	}
	live()
	w.finish()
}

// startLive sends live requests to every gateway until the function that it gives
// is called, which holds the answers against what they should be.
func (w *world) startLive() func() {
	var loads []*tidegatetest.Load
	for n, g := range w.gateways {
		loads = append(loads, g.StartLoad(w.t, 10, func(i int) ([]byte, bool) {
			return tidegatetest.ChatBody(w.t, fmt.Sprintf("live %d at gateway %d", i, n), i%2 == 0), i%2 == 0
		}))
	}
	return func() {
		w.t.Helper()
		sent := 0
		for _, l := range loads {
			for _, s := range l.Stop() {
				sent++
				if err := s.Check(); err != nil {
					w.report("live: " + err.Error())
				}
			}
		}
		w.t.Logf("%d live requests", sent)
	}
}

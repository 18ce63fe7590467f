package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Faults of Redis.
var redisFaults = []fault{
	{name: "a kill, and a start without anything", do: func(w *world) error {
		if err := w.servers.Redis.Kill(); err != nil {
			return err
		}
		w.wantUnwell(w.gateways[0], "that Redis was killed")
		w.wantProgress(progressIn, "Redis was killed") // while it is away
		w.while()
		return w.servers.Redis.Restart()
	}},
	{name: "a restart, empty", do: func(w *world) error {
		w.wantStreams()
		return w.servers.Redis.Restart()
	}},
	{name: "FLUSHALL", do: func(w *world) error {
		w.wantStreams()
		return w.redis("FLUSHALL")
	}},
	{name: "no memory left", do: func(w *world) error {
		if err := w.redis("CONFIG", "SET", "maxmemory", "1"); err != nil {
			return err
		}
		w.wantErrors("OOM", nil)
		w.wantProgress(progressIn, "Redis had no memory left")
		w.while()
		return w.redis("CONFIG", "SET", "maxmemory", "0")
	}},
	{name: "connections cut", do: func(w *world) error {
		cut := int64(0)
		for range 20 {
			for _, kind := range []string{"normal", "pubsub"} {
				n, err := w.servers.Redis.Do("CLIENT", "KILL", "TYPE", kind)
				if err != nil {
					return err
				}
				cut += n.(int64)
			}
			<-time.After(between(w.random, 0, 100*time.Millisecond)) // the moment of the cut
		}
		if cut < int64(len(w.gateways)) {
			return fmt.Errorf("only %d connections were there to be cut", cut)
		}
		return nil
	}},
	{name: "streams of the wrong type", do: func(w *world) error {
		w.wantErrors("WRONGTYPE", func() {
			for _, key := range w.streams() {
				if err := w.redis("SET", key, "not a stream"); err != nil {
					w.t.Error(err)
				}
			}
		})
		return nil
	}},
	{name: "no answer", do: func(w *world) error {
		if err := w.servers.Redis.Pause(); err != nil {
			return err
		}
		w.wantUnwell(w.gateways[0], "that Redis does not answer")
		w.wantProgress(progressIn, "Redis stopped answering")
		w.while()
		return w.servers.Redis.Resume()
	}},
}

// while waits for the duration of a fault.
func (w *world) while() { <-time.After(between(w.random, time.Second, 6*time.Second)) }

func (w *world) redis(args ...string) error {
	_, err := w.servers.Redis.Do(args...)
	return err
}

// streams returns the keys of existing streams.
func (w *world) streams() (keys []string) {
	w.t.Helper()
	found, err := w.servers.Redis.Do("SCAN", "0", "COUNT", "100000", "TYPE", "stream")
	if err != nil {
		w.t.Error(err)
		return nil
	}
	for _, key := range found.([]any)[1].([]any) {
		keys = append(keys, key.(string))
	}
	return keys
}

// wantStreams waits until there are streams to lose.
func (w *world) wantStreams() {
	w.t.Helper()
	tidegatetest.Eventually(w.t, progressIn, "streams", func() bool { return len(w.streams()) > 0 })
}

// wantErrors waits until Redis has returned more errors of a kind to gateways, and calls
// again until then.
func (w *world) wantErrors(kind string, again func()) {
	w.t.Helper()
	count := func() (n int64) {
		info, err := w.servers.Redis.Do("INFO", "errorstats")
		if err != nil {
			w.t.Error(err)
			return 0
		}
		_, after, found := strings.Cut(info.(string), "errorstat_"+kind+":count=")
		if !found {
			return 0
		}
		if _, err := fmt.Sscan(after, &n); err != nil {
			w.t.Error(err)
		}
		return n
	}
	before := count()
	tidegatetest.Eventually(w.t, progressIn, "Redis to answer "+kind, func() bool {
		if again != nil {
			again()
		}
		return count() > before
	})
}

// TestRedis checks that with each fault of Redis batches continue with the store, no line
// runs twice, and live requests are not affected.
func TestRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tidegatetest.StartServers(t, tidegatetest.PostgresRedis), plan{gateways: 3, clients: clients})
	live := w.startLive()
	faults := series(w.random, redisFaults)
	for i := range rounds(*redis) {
		w.wantWell() // otherwise no gateway uses Redis
		w.wantProgress(progressIn, "Redis was well")
		f := faults(i)
		t.Log(f.name)
		if err := f.do(w); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		w.wantProgress(progressIn, f.name)
		w.wantFewRepeats(f.name)
	}
	live()
	w.finish()
}

// startLive sends live requests to every gateway until the returned function is called,
// which checks the responses.
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

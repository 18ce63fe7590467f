package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/redistest"
)

// methods are all that speak to the server.
var methods = map[string]func(context.Context, *Queue) error{
	"ping":   func(ctx context.Context, q *Queue) error { return q.Ping(ctx) },
	"push":   func(ctx context.Context, q *Queue) error { return q.Push(ctx, aBatch, []int{1}) },
	"pop":    func(ctx context.Context, q *Queue) error { _, err := q.Pop(ctx, aBatch, 1); return err },
	"drop":   func(ctx context.Context, q *Queue) error { return q.Drop(ctx, aBatch) },
	"notify": func(ctx context.Context, q *Queue) error { return q.Notify(ctx) },
	"done": func(ctx context.Context, q *Queue) error {
		q.popped.add(aBatch, []entry{{7, "1-1"}})
		return q.Done(ctx, aBatch, []int{7})
	},
}

// works checks that all methods work at the first attempt.
func works(t *testing.T, q *Queue) {
	t.Helper()
	for name, method := range methods {
		if err := method(t.Context(), q); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, q.Drop(t.Context(), aBatch))
	must(t, q.Push(t.Context(), aBatch, upTo(20)))
	got := drain(t, q, aBatch)
	want(t, got, upTo(20))
	must(t, q.Done(t.Context(), aBatch, got))
	must(t, q.Drop(t.Context(), aBatch))
}

// TestSpoiledKeys damages data on the server between two steps of an instance in the
// middle of a batch. No method may fail.
func TestSpoiledKeys(t *testing.T) {
	s := redistest.Start(t)
	for name, spoil := range map[string]func(t *testing.T, key string){
		"flushed": func(t *testing.T, _ string) { do(t, s, "FLUSHALL") },
		"stream deleted": func(t *testing.T, key string) {
			do(t, s, "DEL", key)
		},
		"group destroyed": func(t *testing.T, key string) { do(t, s, "XGROUP", "DESTROY", key, group) },
		"wrong type": func(t *testing.T, key string) {
			do(t, s, "DEL", key)
			do(t, s, "RPUSH", key, "no", "stream")
		},
		"stream without a group": func(t *testing.T, key string) {
			do(t, s, "DEL", key)
			do(t, s, "XADD", key, "*", field, "3")
		},
		"trimmed": func(t *testing.T, key string) { do(t, s, "XTRIM", key, "MAXLEN", "0") },
		"rubbish": func(t *testing.T, key string) {
			for _, value := range []string{"", "-1", "x", "99999999999999999999"} {
				do(t, s, "XADD", key, "*", field, value)
			}
			do(t, s, "XADD", key, "*", "other", "1")
		},
	} {
		for step, method := range methods {
			t.Run(name+" before "+step, func(t *testing.T) {
				log, seen := logs()
				cfg := Config{Server: serverOf(t, s), Prefix: prefix(), Logger: log}
				q := open(t, cfg)
				must(t, q.Push(t.Context(), aBatch, upTo(50)))
				drainFor(t, q, 20)
				spoil(t, cfg.stream(aBatch))
				if err := method(t.Context(), q); err != nil {
					t.Error(err)
				}
				if name == "wrong type" && strings.Contains("push pop done", step) &&
					seen.FilterMessageSnippet("should be a stream").Len() != 1 {
					t.Error("no log entry about the deleted key")
				}
				must(t, q.Drop(t.Context(), aBatch))
				works(t, q)
			})
		}
	}
}

// A stream whose group is gone is read from its beginning again.
func TestDestroyedGroupLosesNothing(t *testing.T) {
	cfg := Config{Server: serverOf(t, shared), Prefix: prefix()}
	q := open(t, cfg)
	must(t, q.Push(t.Context(), aBatch, upTo(10)))
	drainFor(t, q, 5)
	do(t, shared, "XGROUP", "DESTROY", cfg.stream(aBatch), group)
	want(t, drain(t, q, aBatch), upTo(10))
}

func TestRestartedServer(t *testing.T) {
	for name, options := range map[string]redistest.Options{
		"single": {}, "cluster": {Cluster: true},
		"without RESP3": {Args: []string{"--rename-command", "HELLO", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, options)
			q := open(t, Config{Server: serverOf(t, s), Timeout: 500 * time.Millisecond})
			works(t, q)
			must(t, s.Kill())
			failsQuickly(t, q)
			must(t, s.Restart())
			eventually(t, "the server is used again", func() bool { return q.Ping(t.Context()) == nil })
			if name == "cluster" { // its map of slots is read again in the background
				eventually(t, "the node is used again", func() bool { return q.Push(t.Context(), aBatch, nil) == nil })
			}
			works(t, q)
			heardAgain(t, s, q)
		})
	}
}

// failsQuickly checks that each method returns an error within its timeout.
func failsQuickly(t *testing.T, q *Queue) {
	t.Helper()
	for name, method := range methods {
		begin := time.Now()
		err := method(t.Context(), q)
		if err == nil {
			t.Errorf("%s succeeded without a server", name)
		}
		if took := time.Since(begin); took > 2*q.cfg.Timeout {
			t.Errorf("%s took %s: %v", name, took, err)
		}
	}
}

// heardAgain waits until the queue is subscribed again.
func heardAgain(t *testing.T, s *redistest.Server, q *Queue) {
	t.Helper()
	eventually(t, "there is one subscriber", func() bool {
		answer := do(t, s, "PUBSUB", "NUMSUB", q.cfg.channel()).([]any)
		return answer[1] == int64(1)
	})
	heard(t, q)
}

// heard waits for a wake-up.
func heard(t *testing.T, q *Queue) {
	t.Helper()
	select {
	case <-q.Wake():
	case <-time.After(patience):
		t.Error("no wake-up was received")
	}
}

func TestHangingServer(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, Config{Server: serverOf(t, s), Timeout: 200 * time.Millisecond})
	works(t, q)
	for range 2 {
		must(t, s.Pause())
		failsQuickly(t, q)
		failsQuickly(t, q) // on new connections, which hang as well
		must(t, s.Resume())
		eventually(t, "the server is used again", func() bool { return q.Ping(t.Context()) == nil })
		eventually(t, "nothing of what broke off is left", func() bool { return q.Drop(t.Context(), aBatch) == nil })
		works(t, q)
	}
	heardAgain(t, s, q)
}

func TestContextIsObeyed(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, Config{Server: serverOf(t, s), Timeout: time.Minute})
	must(t, s.Pause())
	for name, method := range methods {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- method(ctx, q) }()
		time.AfterFunc(20*time.Millisecond, cancel) // most likely while it waits
		select {
		case err := <-ended:
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s does not obey its context", name)
		}
	}
	must(t, s.Resume())
}

func TestKilledConnections(t *testing.T) {
	for name, options := range map[string]redistest.Options{
		"RESP3": {}, "RESP2": {Args: []string{"--rename-command", "HELLO", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Start(t, options)
			q := open(t, Config{Server: serverOf(t, s)})
			heardAgain(t, s, q)
			for _, kind := range []string{"pubsub", "normal"} {
				do(t, s, "CLIENT", "KILL", "TYPE", kind)
				eventually(t, "there is a connection again", func() bool { return q.Ping(t.Context()) == nil })
				heardAgain(t, s, q)
				works(t, q)
			}
		})
	}
}

func TestFullServer(t *testing.T) {
	s := redistest.Start(t, redistest.Options{Args: []string{"--maxmemory-policy", "noeviction"}})
	q := open(t, Config{Server: serverOf(t, s)})
	must(t, q.Push(t.Context(), aBatch, upTo(10)))
	do(t, s, "CONFIG", "SET", "maxmemory", "1")
	err := q.Push(t.Context(), aBatch, []int{10})
	if !answered(err, "OOM") {
		t.Errorf("pushing to a full server: %v", err)
	}
	got := drain(t, q, aBatch) // commands that free memory are permitted
	want(t, got, upTo(10))
	must(t, q.Done(t.Context(), aBatch, got))
	must(t, q.Notify(t.Context()))
	must(t, q.Drop(t.Context(), aBatch))
	do(t, s, "CONFIG", "SET", "maxmemory", "0")
	works(t, q)
}

// A master that became a replica refuses to write; its name may lead to the new
// master by now.
func TestReplicaIsLeft(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, Config{Server: serverOf(t, s)})
	works(t, q)
	heardAgain(t, s, q)
	connection := func() string { // begins with its id
		id, _, _ := strings.Cut(do(t, s, "CLIENT", "LIST", "TYPE", "pubsub").(string), " ")
		return id
	}
	before := connection()
	do(t, s, "REPLICAOF", "127.0.0.1", "1")
	if err := q.Push(t.Context(), aBatch, []int{1}); !answered(err, "READONLY") {
		t.Errorf("pushing to a replica: %v", err)
	}
	do(t, s, "REPLICAOF", "NO", "ONE")
	eventually(t, "reconnected", func() bool { return q.Ping(t.Context()) == nil })
	heardAgain(t, s, q)
	if after := connection(); !strings.HasPrefix(before, "id=") || after == before {
		t.Errorf("the connection was %s and is %s", before, after)
	}
	works(t, q)
}

func TestDoneCanBeRepeated(t *testing.T) {
	s := redistest.Start(t)
	cfg := Config{Server: serverOf(t, s), Timeout: 300 * time.Millisecond}
	q := open(t, cfg)
	must(t, q.Push(t.Context(), aBatch, []int{1, 2}))
	want(t, drainFor(t, q, 2), []int{1, 2})
	do(t, s, "CLIENT", "PAUSE", "60000", "WRITE")
	if err := q.Done(t.Context(), aBatch, []int{1, 2}); err == nil {
		t.Error("a paused server answered")
	}
	do(t, s, "CLIENT", "UNPAUSE")
	eventually(t, "done", func() bool { return q.Done(t.Context(), aBatch, []int{1, 2}) == nil })
	if length := do(t, s, "XLEN", cfg.stream(aBatch)); length != int64(0) {
		t.Errorf("%v entries are left", length)
	}
}

package redis

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/internal/redistest"
)

// TestPingOfAServerThatRefusesWrites checks that Ping fails while a server answers but
// refuses writes, and succeeds afterwards.
func TestPingOfAServerThatRefusesWrites(t *testing.T) {
	for _, tt := range []struct {
		name          string
		refuse, again []string
		want          string
	}{
		{"replica", []string{"REPLICAOF", "127.0.0.1", "1"}, []string{"REPLICAOF", "NO", "ONE"}, "READONLY"},
		{"out of memory", []string{"CONFIG", "SET", "maxmemory", "1"}, []string{"CONFIG", "SET", "maxmemory", "0"}, "OOM"},
		{"too few replicas", []string{"CONFIG", "SET", "min-replicas-to-write", "1"}, []string{"CONFIG", "SET", "min-replicas-to-write", "0"}, "NOREPLICAS"},
		{"no permission", []string{"ACL", "SETUSER", "default", "-xadd"}, []string{"ACL", "SETUSER", "default", "+xadd"}, "NOPERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := redistest.Start(t)
			q := open(t, Config{Server: serverOf(t, s), Prefix: prefix()})
			must(t, q.Ping(t.Context()))
			do(t, s, tt.refuse...)
			if do(t, s, "PING") != "PONG" {
				t.Error("the server does not answer PING")
			}
			if err := q.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			do(t, s, tt.again...)
			must(t, q.Ping(t.Context()))
			works(t, q)
		})
	}
}

// TestPingLeavesNothing checks that Ping leaves no permanent key.
func TestPingLeavesNothing(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, Config{Server: serverOf(t, s), Prefix: prefix(), Instance: "me"})
	for range 50 {
		must(t, q.Ping(t.Context()))
	}
	key := q.cfg.stream("ping-me")
	if ttl, ok := do(t, s, "PTTL", key).(int64); !ok || ttl <= 0 {
		t.Errorf("the key of pings lives for %v ms", ttl)
	}
	if n := do(t, s, "DBSIZE"); n != int64(1) {
		t.Errorf("%v keys", n)
	}
	if n, ok := do(t, s, "XLEN", key).(int64); !ok || n > 1 {
		t.Errorf("it has %v entries", n)
	}
}

// TestPingReplacesWhatIsNoStream checks that a key with the name of Ping's stream that is
// not a stream is replaced, like those of batches.
func TestPingReplacesWhatIsNoStream(t *testing.T) {
	s := redistest.Start(t)
	q := open(t, Config{Server: serverOf(t, s), Prefix: prefix(), Instance: "me"})
	do(t, s, "SET", q.cfg.stream("ping-me"), "no stream")
	for range 2 {
		must(t, q.Ping(t.Context()))
	}
}

// TestPingAfterDroppedConnections checks that Ping uses a new connection after the queue has
// closed its connections, as it does when a server refuses writes: a Ping at that moment
// reported a server that works as one that does not.
func TestPingAfterDroppedConnections(t *testing.T) {
	q := open(t, Config{Server: serverOf(t, redistest.Start(t)), Prefix: prefix(), Instance: "me"})
	for i := range 200 {
		q.links.drop()
		if err := q.Ping(t.Context()); err != nil {
			t.Fatalf("ping %d: %v", i, err)
		}
	}
}

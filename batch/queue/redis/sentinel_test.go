package redis

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/internal/redistest"
)

// TestSentinelFailover kills the master: the sentinel promotes the replica, and the queue
// continues there.
func TestSentinelFailover(t *testing.T) {
	master := redistest.Start(t)
	host, port, err := net.SplitHostPort(master.Addr)
	must(t, err)
	replica := redistest.Start(t, redistest.Options{Args: []string{"--replicaof", host, port}})
	sentinel := redistest.Start(t, redistest.Options{SentinelOf: master})
	eventually(t, "the replica follows", func() bool {
		return strings.Contains(do(t, replica, "INFO", "replication").(string), "master_link_status:up")
	})
	// The sentinel learns it from the master, which it queries every ten seconds
	// and at its start.
	eventually(t, "the sentinel knows the replica", func() bool {
		return strings.Contains(do(t, sentinel, "INFO", "sentinel").(string), "slaves=1")
	})
	server, err := ParseURL("redis://" + sentinel.Addr + "?sentinel_master=" + redistest.SentinelMaster)
	must(t, err)
	q := open(t, Config{Server: server, Timeout: 500 * time.Millisecond})
	works(t, q)
	must(t, q.Push(t.Context(), aBatch, upTo(5)))
	heardAgain(t, master, q)
	must(t, master.Kill())
	failsQuickly(t, q)
	eventually(t, "the replica is used", func() bool { return q.Push(t.Context(), aBatch, nil) == nil })
	works(t, q)
	heardAgain(t, replica, q)
}

package redis

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/queue/queuetest"
	"github.com/tidegate/tidegate/internal/redistest"
)

// shared is the server of the tests that do it no harm. Each has a prefix of
// its own there.
var shared *redistest.Server

func TestMain(m *testing.M) {
	var err error
	if shared, err = redistest.New(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := shared.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		// After a connection has ended, the library waits for up to a second to
		// query the nodes of a cluster again, even if it is closed.
		err := goleak.Find()
		for deadline := time.Now().Add(patience); err != nil && time.Now().Before(deadline); err = goleak.Find() {
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience limits the duration of operations with a real server.
const patience = 20 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls ask until it returns true.
func eventually(t testing.TB, what string, ask func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ask(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

var prefixes atomic.Int64

// prefix returns a unique prefix.
func prefix() string { return fmt.Sprintf("test%d", prefixes.Add(1)) }

func serverOf(t testing.TB, s *redistest.Server) Server {
	t.Helper()
	server, err := ParseURL(s.URL())
	must(t, err)
	return server
}

// open opens an instance for the length of a test.
func open(t testing.TB, cfg Config) *Queue {
	t.Helper()
	q := New(cfg)
	must(t, q.Open(context.Background()))
	t.Cleanup(func() { must(t, q.Close()) })
	return q
}

// logs returns a logger and its entries.
func logs() (*zap.Logger, *observer.ObservedLogs) {
	core, seen := observer.New(zapcore.DebugLevel)
	return zap.New(core), seen
}

func upTo(n int) []int {
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// drain pops until the queue is empty.
func drain(t testing.TB, q *Queue, batchID string) []int {
	t.Helper()
	var all []int
	for {
		got, err := q.Pop(context.Background(), batchID, 100)
		must(t, err)
		if len(got) == 0 {
			slices.Sort(all)
			return all
		}
		all = append(all, got...)
	}
}

func want(t testing.TB, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// do sends a raw command to a server.
func do(t testing.TB, s *redistest.Server, args ...string) any {
	t.Helper()
	answer, err := s.Do(args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return answer
}

func suite(t *testing.T, s *redistest.Server) {
	t.Helper()
	server := serverOf(t, s)
	queuetest.Run(t, func(t *testing.T) batch.Queue { return open(t, Config{Server: server, Prefix: prefix()}) })
}

func TestSuite(t *testing.T) { suite(t, shared) }

// A server without HELLO has only the second version of the protocol, where
// subscriptions need a connection of their own.
func TestSuiteWithoutRESP3(t *testing.T) {
	suite(t, redistest.Start(t, redistest.Options{Password: "s3cret", Args: []string{"--rename-command", "HELLO", ""}}))
}

func TestSuiteOverTLSWithPassword(t *testing.T) {
	suite(t, redistest.Start(t, redistest.Options{Password: "p@ss/w:rd", TLS: redistest.Certificates(t)}))
}

func TestSuiteOnACluster(t *testing.T) {
	suite(t, redistest.Start(t, redistest.Options{Cluster: true}))
}

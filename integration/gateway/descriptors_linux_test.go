package gateway

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
	"github.com/tidegate/tidegate/upstreams"
)

// descriptorLimit is the descriptor limit of gateways in these tests.
const descriptorLimit = 128

// limited starts a gateway with few descriptors.
func limited(t *testing.T, sim *tidegatetest.Sim) *tidegatetest.Gateway {
	t.Helper()
	addr := tidegatetest.FreeAddr(t)
	url := "http://" + addr
	g := tidegatetest.Start(t, url, url+"/ready", nil,
		"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptorLimit),
		tidegatetest.Binary(t), "serve", "--listen", addr, "--data", t.TempDir(), "--upstream", sim.URL, "--max-num-seqs", "400")
	return g
}

type shortHealth struct {
	Status    string
	Upstreams []upstreams.UpstreamStatus
	Shortage  *upstreams.Shortage
}

// TestIdleClientsBeyondTheDescriptors checks that many idle connections do not block others:
// the longest idle ones are closed, and live requests and batches continue.
func TestIdleClientsBeyondTheDescriptors(t *testing.T) {
	sim := tidegatetest.StartSim(t)
	gateway := limited(t, sim)
	var before, after shortHealth
	gateway.Get(t, "/health", &before)
	addr := strings.TrimPrefix(gateway.URL, "http://")
	connect := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for i := range 4 * descriptorLimit {
		conn := connect()
		fmt.Fprintf(conn, "GET /v1/models HTTP/1.1\r\nHost: %s\r\n\r\n", addr)
		if answer, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: got %+v, %v, want 200", i, answer, err)
		}
		if i%16 == 15 {
			body := tidegatetest.ChatBody(t, fmt.Sprint("live ", i), i%32 == 31)
			if err := gateway.Chat(t.Context(), body, nil).Check(body, i%32 == 31); err != nil {
				t.Errorf("with %d connections: %v", i+1, err)
			}
		}
	}
	// Connections without a request are kept for a second.
	for range descriptorLimit {
		connect()
	}
	body := tidegatetest.ChatBody(t, "live", false)
	tidegatetest.Eventually(t, 20*time.Second, "a live request to be answered beside silent clients", func() bool {
		return gateway.Chat(t.Context(), body, nil).Check(body, false) == nil
	})
	input := tidegatetest.BatchInput(t, 200, nil)
	batch := gateway.WaitEnd(t, gateway.Submit(t, input).ID, time.Minute)
	if results := gateway.Results(t, batch, input); len(results.Output) != 200 {
		t.Errorf("got %d results, want 200", len(results.Output))
	}
	gateway.Get(t, "/health", &after)
	if u := after.Upstreams[0]; u.State != upstreams.StateUp || !u.Since.Equal(before.Upstreams[0].Since) {
		t.Errorf("the server is %s since %s, want up since %s", u.State, u.Since, before.Upstreams[0].Since)
	}
}

// More requests at once than descriptors: those beyond are refused with 503, the
// server keeps its state, lines of a batch wait, and health says why.
func TestMoreRequestsThanDescriptors(t *testing.T) {
	sim := tidegatetest.StartSim(t)
	gateway := limited(t, sim)
	var before, during shortHealth
	gateway.Get(t, "/health", &before)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	body := tidegatetest.ChatBody(t, "[[sim:hang-mid]]", true)
	var running sync.WaitGroup
	var mu sync.Mutex
	statuses := make(map[int]int) // guarded by mu; 0 for a connection that was closed
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: -1}}
	begun := make(chan struct{}, 2*descriptorLimit)
	for range 2 * descriptorLimit {
		running.Go(func() {
			request, err := gateway.Request(ctx, http.MethodPost, tidegatetest.ChatPath, "application/json", body)
			if err != nil {
				t.Error(err)
				return
			}
			status := 0
			if answer, err := client.Do(request); err == nil {
				status = answer.StatusCode
				if status == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") == "" {
					t.Error("503 without Retry-After")
				}
				defer answer.Body.Close()
			}
			mu.Lock()
			statuses[status]++
			mu.Unlock()
			begun <- struct{}{}
			if status == http.StatusOK {
				<-ctx.Done()
			}
		})
	}
	for range 2 * descriptorLimit {
		select {
		case <-begun:
		case <-time.After(time.Minute):
			t.Fatal("a request was neither started nor refused")
		}
	}
	mu.Lock()
	t.Logf("statuses: %v", statuses)
	if statuses[http.StatusOK] == 0 || statuses[http.StatusServiceUnavailable] == 0 || len(statuses) > 3 {
		t.Errorf("got %v, want some 200 and some 503", statuses)
	}
	mu.Unlock()
	input := tidegatetest.BatchInput(t, 50, nil)
	id := gateway.Submit(t, input).ID
	tidegatetest.Eventually(t, 20*time.Second, "health to say what the gateway is out of", func() bool {
		during = shortHealth{}
		gateway.Get(t, "/health", &during)
		return during.Shortage != nil && during.Status == "degraded"
	})
	if s := during.Shortage; s.Resource != "file descriptors" || s.Count == 0 || !strings.Contains(s.Remedy, "LimitNOFILE") {
		t.Errorf("the shortage is %+v, want file descriptors with LimitNOFILE", s)
	}
	if u := during.Upstreams[0]; u.State != upstreams.StateUp || !u.Since.Equal(before.Upstreams[0].Since) {
		t.Errorf("the server is %s since %s (%s), want up since %s", u.State, u.Since, u.Reason, before.Upstreams[0].Since)
	}
	if printed, status := examine(t, gateway); status == 0 || !strings.Contains(printed, "LimitNOFILE") {
		t.Errorf("the doctor's status is %d, want one for a failure with LimitNOFILE:\n%s", status, printed)
	}

	stop()
	running.Wait()
	batch := gateway.WaitEnd(t, id, time.Minute)
	results := gateway.Results(t, batch, input)
	if len(results.Output) != 50 {
		t.Errorf("got %d results of %+v, want 50", len(results.Output), batch)
	}
}

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// queues has the waiting requests in /health.
type queues struct {
	Queues []struct {
		Model, Class string
		Waiting      int
		Oldest       float64 `json:"oldest_seconds"`
	}
}

func wantWaiting(t *testing.T, g *tidegatetest.Gateway, class string, n int) {
	t.Helper()
	tidegatetest.Eventually(t, 10*time.Second, fmt.Sprintf("%d %s requests to wait", n, class), func() bool {
		var h queues
		g.Get(t, "/health", &h)
		for _, q := range h.Queues {
			if q.Class == class {
				return q.Waiting == n
			}
		}
		return n == 0
	})
}

// refusal is an answer with status 429.
type refusal struct {
	status, after int
	body          string
}

// ask sends a request with an API key and reads the response.
func ask(t *testing.T, g *tidegatetest.Gateway, key, path string, body []byte) refusal {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := strconv.Atoi(answer.Header.Get("Retry-After")) // 0 is wrong as well
	return refusal{answer.StatusCode, after, string(text)}
}

func (r refusal) want(t *testing.T, code string) {
	t.Helper()
	if r.status != http.StatusTooManyRequests || !strings.Contains(r.body, code) || r.after < 1 || r.after > 60 {
		t.Errorf("status %d with Retry-After %d, want 429 with 1 to 60 and %s: %s", r.status, r.after, code, r.body)
	}
}

// withTier names a service tier in a request.
func withTier(t *testing.T, body []byte, tier string) []byte {
	t.Helper()
	var request map[string]any
	if err := json.Unmarshal(body, &request); err != nil {
		t.Fatal(err)
	}
	request["service_tier"] = tier
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hold keeps n requests running at a server and returns the function that ends them.
func hold(t *testing.T, g *tidegatetest.Gateway, s *tidegatetest.Sim, n int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{}, n)
	for i := range n {
		go func() {
			g.Chat(ctx, tidegatetest.ChatBody(t, fmt.Sprintf("[[sim:hang]] %d", i), false), nil)
			ended <- struct{}{}
		}()
	}
	tidegatetest.Eventually(t, 10*time.Second, "requests to be at the server", func() bool { return s.Stats(t).Running == int64(n) })
	return func() {
		cancel()
		for range n {
			<-ended
		}
	}
}

// TestLiveRequestsQueue sends twelve live requests to a server with four slots, four of which
// hang: the queue accepts four and refuses the others, and all that waited are answered once
// slots are free.
func TestLiveRequestsQueue(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--max-num-seqs", "4")
	log := filepath.Join(t.TempDir(), "access.log")
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{sim}, Upstream: "max_num_seqs 4", Pool: "queue_size 4\nqueue_timeout 1m",
		Site: fmt.Sprintf("log {\n output file %s\n format json\n}\n tidegate", log),
	})
	release := hold(t, g, sim, 4)
	answers := make(chan tidegatetest.Live, 4)
	for i := range 4 {
		body := tidegatetest.ChatBody(t, fmt.Sprintf("waiting request %d", i), i%2 == 1)
		go func() { answers <- g.Chat(t.Context(), body, nil) }()
	}
	wantWaiting(t, g, "live", 4)
	for i := range 4 {
		ask(t, g, "k", tidegatetest.ChatPath, tidegatetest.ChatBody(t, fmt.Sprintf("refused request %d", i), false)).want(t, `"code":"rate_limit_exceeded"`)
	}
	model := modelOf(t, g)
	ask(t, g, "k", "/v1/messages", fmt.Appendf(nil, `{"model":%q,"max_tokens":5,"messages":[]}`, model)).want(t, `"type":"rate_limit_error"`)
	if n := g.Metric(t, fmt.Sprintf(`tidegate_live_queue_length{model=%q}`, model)); n != 4 {
		t.Errorf("tidegate_live_queue_length is %v, want 4", n)
	}
	if s := sim.Stats(t); s.Running != 4 || s.Waiting != 0 {
		t.Errorf("%d requests run and %d wait at the server, want 4 and 0", s.Running, s.Waiting)
	}
	release()
	for range 4 {
		if l := <-answers; l.Status != http.StatusOK || l.Err != nil {
			t.Errorf("a request that waited got status %d: %s %v", l.Status, l.Body, l.Err)
		}
	}
	wantWaiting(t, g, "live", 0)
	for outcome, want := range map[string]float64{"queued": 4, "full": 5} {
		if n := g.Metric(t, fmt.Sprintf(`tidegate_live_queue_requests_total{model=%q,outcome=%q}`, model, outcome)); n != want {
			t.Errorf("%v requests are counted as %s, want %v", n, outcome, want)
		}
	}
	if s := sim.Stats(t); s.MaxRunning != 4 {
		t.Errorf("%d requests ran at once at the server, want 4", s.MaxRunning)
	}
	tidegatetest.Eventually(t, 10*time.Second, "the access log to say how long requests waited", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Count(string(text), `"queued":`) == 4
	})
}

func modelOf(t *testing.T, g *tidegatetest.Gateway) string {
	t.Helper()
	var list struct{ Data []struct{ ID string } }
	g.Get(t, "/v1/models", &list)
	if len(list.Data) != 1 {
		t.Fatalf("%d models, want 1", len(list.Data))
	}
	return list.Data[0].ID
}

// A reload that raises the limit serves requests that wait, and one that leaves the
// limit out never refuses any.
func TestReloadServesTheQueue(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	settings := tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}, Upstream: "max_num_seqs 1", Pool: "queue_size 2"}
	g := tidegatetest.Run(t, settings)
	release := hold(t, g, sim, 1)
	answers := make(chan tidegatetest.Live, 2)
	for i := range 2 {
		go func() {
			answers <- g.Chat(t.Context(), tidegatetest.ChatBody(t, fmt.Sprintf("waiting request %d", i), false), nil)
		}()
	}
	wantWaiting(t, g, "live", 2)
	settings.Upstream = "max_num_seqs 2"
	g.Reload(t, settings)
	for range 2 { // one after the other
		if l := <-answers; l.Status != http.StatusOK {
			t.Errorf("status %d, want 200: %s", l.Status, l.Body)
		}
	}
	release()
}

// The queue of a gateway is fair: a key with many requests does not hold up a key
// with one.
func TestQueueIsFairAmongKeys(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--max-num-seqs", "1", "--ttft", "150ms") // answers come in their order
	g := tidegatetest.Run(t, tidegatetest.Settings{
		Sims: []*tidegatetest.Sim{sim}, App: "api_keys one two", Upstream: "max_num_seqs 1",
	})
	ctx, cancel := context.WithCancel(t.Context())
	held := make(chan struct{})
	go func() {
		defer close(held)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.URL+tidegatetest.ChatPath, bytes.NewReader(tidegatetest.ChatBody(t, "[[sim:hang]]", false)))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer one")
		if answer, err := http.DefaultClient.Do(r); err == nil {
			answer.Body.Close()
		}
	}()
	tidegatetest.Eventually(t, 10*time.Second, "a request to be at the server", func() bool { return sim.Stats(t).Running == 1 })
	order := make(chan string, 6)
	waiting := 0
	for _, key := range []string{"one", "one", "one", "one", "two"} {
		go func() {
			r := ask(t, g, key, tidegatetest.ChatPath, tidegatetest.ChatBody(t, "waits", false))
			if r.status != http.StatusOK {
				t.Errorf("status %d, want 200: %s", r.status, r.body)
			}
			order <- key
		}()
		waiting++
		tidegatetest.Eventually(t, 10*time.Second, "the request to wait", func() bool { return len(queued(t, g, "one")) == 1 && queued(t, g, "one")[0] == waiting })
	}
	cancel()
	<-held
	var got []string
	for range 5 {
		got = append(got, <-order)
	}
	if want := []string{"one", "two", "one", "one", "one"}; !slices.Equal(got, want) {
		t.Errorf("served in the order %q, want %q", got, want)
	}
}

// queued returns the lengths of the queues in /health for a client with a key.
func queued(t *testing.T, g *tidegatetest.Gateway, key string) (lengths []int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var h queues
	if err := json.NewDecoder(answer.Body).Decode(&h); err != nil {
		t.Fatal(err)
	}
	for _, q := range h.Queues {
		lengths = append(lengths, q.Waiting)
	}
	return lengths
}

// Flex requests run when there is room, streamed or not, and are refused as OpenAI
// refuses them when there is none in time.
func TestFlexRequests(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--max-num-seqs", "4")
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}, Upstream: "max_num_seqs 4", Pool: "queue_timeout 500ms"})
	for _, stream := range []bool{false, true} {
		body := withTier(t, tidegatetest.ChatBody(t, "a flex request", stream), "flex")
		l := g.Chat(t.Context(), body, nil)
		if err := l.Check(body, stream); err != nil {
			t.Error(err)
		}
	}
	release := hold(t, g, sim, 4)
	defer release()
	body := withTier(t, tidegatetest.ChatBody(t, "no room", false), "flex")
	ask(t, g, "k", tidegatetest.ChatPath, body).want(t, `"code":"resource_unavailable"`)
	ask(t, g, "k", tidegatetest.ChatPath, tidegatetest.ChatBody(t, "no seat", false)).want(t, `"code":"rate_limit_exceeded"`)
	if n := g.Metric(t, fmt.Sprintf(`tidegate_flex_queue_requests_total{model=%q,outcome="timeout"}`, modelOf(t, g))); n != 1 {
		t.Errorf("%v flex requests are counted as late, want 1", n)
	}
}

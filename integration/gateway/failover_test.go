package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// mixed returns live traffic in which every other request is streamed.
func mixed(t *testing.T) func(i int) ([]byte, bool) {
	return func(i int) ([]byte, bool) {
		stream := i%2 == 1
		return tidegatetest.ChatBody(t, fmt.Sprintf("What does live request %d ask?", i), stream), stream
	}
}

// A server that is killed under load costs no client an error, but those whose
// stream it had begun.
func TestServerKilledUnderLoad(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 4, "--ttft", "100ms", "--itl", "2ms")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims})
	load := gateway.StartLoad(t, 200, mixed(t))
	load.WaitEnded(t, 200)
	tidegatetest.Eventually(t, 10*time.Second, "the server to have work", func() bool { return sims[0].Stats(t).Running > 0 })
	sims[0].Kill(t)
	load.WaitEnded(t, 400)
	sims[0].Start(t)
	tidegatetest.Eventually(t, 30*time.Second, "the server to get work again", func() bool { return sims[0].Stats(t).Finished > 0 })
	cut := 0
	for _, s := range load.Stop() {
		if s.Stream && s.Live.Events > 0 && !s.Live.Done {
			cut++
			if err := s.Live.CheckCut(s.Body); err != nil {
				t.Error(err)
			}
			continue
		}
		if err := s.Check(); err != nil {
			t.Errorf("stream %t: %v", s.Stream, err)
		}
	}
	t.Logf("%d streams had begun on the server that was killed", cut)
}

// A stream whose server dies in its middle ends with an error event and a cut
// connection, never as if it were complete.
func TestServerDiesInMidStream(t *testing.T) {
	sims := tidegatetest.StartSims(t, 2, "--itl", "10ms")
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims})

	t.Run("killed", func(t *testing.T) {
		body := tidegatetest.ChatBody(t, "sim-id:killed [[sim:tokens=1000]]", true)
		live := gateway.Chat(t.Context(), body, func(events int) {
			if events != 5 {
				return
			}
			for _, s := range sims {
				if s.CallsTo(t, "killed").Received > 0 {
					s.Kill(t)
				}
			}
		})
		if err := live.CheckCut(body); err != nil {
			t.Error(err)
		}
	})
	t.Run("connection cut", func(t *testing.T) {
		body := tidegatetest.ChatBody(t, "[[sim:cut-mid]] [[sim:tokens=30]]", true)
		if err := gateway.Chat(t.Context(), body, nil).CheckCut(body); err != nil {
			t.Error(err)
		}
	})
	t.Run("ends early", func(t *testing.T) {
		body := tidegatetest.ChatBody(t, "[[sim:truncated]] [[sim:tokens=30]]", true)
		if live := gateway.Chat(t.Context(), body, nil); live.Done || live.Failure == "" {
			t.Errorf("a stream that its server ended early came as %+v", live)
		}
	})
}

// TestAllServersDownThenBack checks that while every server is down, live requests get
// Retry-After and batches wait, and that both continue when the servers are back.
func TestAllServersDownThenBack(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 2)
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims})
	body := tidegatetest.ChatBody(t, "Is it high tide?", false)
	if err := gateway.Chat(t.Context(), body, nil).Check(body, false); err != nil {
		t.Fatal(err)
	}
	for _, s := range sims {
		s.Kill(t)
	}
	input := tidegatetest.BatchInput(t, 200, nil)
	b := gateway.Submit(t, input)
	for range 5 {
		request, err := gateway.Request(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", body)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("without any server: status %d, Retry-After %q", answer.StatusCode, answer.Header.Get("Retry-After"))
		}
	}
	for _, s := range sims {
		s.Start(t)
	}
	tidegatetest.Eventually(t, 30*time.Second, "a live request to be answered again", func() bool {
		return gateway.Chat(t.Context(), body, nil).Check(body, false) == nil
	})
	b = gateway.WaitEnd(t, b.ID, time.Minute)
	if results := gateway.Results(t, b, input); b.Status != "completed" || len(results.Errors) > 0 {
		t.Errorf("the batch ended as %+v with %d errors", b, len(results.Errors))
	}
}

// A server whose engine hangs behind a good GET /health is found by its figures:
// live requests and lines that were sent there are answered by another one.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	sims := []*tidegatetest.Sim{tidegatetest.StartSim(t), tidegatetest.StartSim(t, "--fault", "hang=1")}
	gateway := tidegatetest.Serve(t, tidegatetest.ServeConfig{Sims: sims})
	const lines = 100
	input := tidegatetest.BatchInput(t, lines, func(i int) string { return fmt.Sprintf("hangs, line %d", i) })
	b := gateway.Submit(t, input)
	tidegatetest.Eventually(t, 30*time.Second, "lines to hang", func() bool { return sims[1].Stats(t).Running > 0 })
	// When no request of the gateway is left there, the server is up again.
	suspect := make(chan bool, 1)
	go func() {
		suspect <- tidegatetest.Poll(time.Minute, func() bool {
			var h struct {
				Upstreams []struct{ URL, State, Reason string }
			}
			_, answer, err := gateway.Call(t.Context(), http.MethodGet, "/health", "", nil)
			return err == nil && json.Unmarshal(answer, &h) == nil && slices.ContainsFunc(h.Upstreams, func(u struct{ URL, State, Reason string }) bool {
				return u.URL == sims[1].URL && u.State == "suspect" && strings.Contains(u.Reason, "engine hangs")
			})
		})
	}()
	for i := range 4 {
		body, stream := mixed(t)(i)
		if err := gateway.Chat(t.Context(), body, nil).Check(body, stream); err != nil {
			t.Error(err)
		}
	}
	if !<-suspect {
		t.Error("the server that hangs was not suspect for it")
	}
	b = gateway.WaitEnd(t, b.ID, time.Minute)
	gateway.Results(t, b, input)
	if b.Status != "completed" || b.RequestCounts.Completed != lines {
		t.Errorf("%s, %+v", b.Status, b.RequestCounts)
	}
}

// A gateway that is started while the only server of a model is away knows the
// model from before: it is not unknown, and its batches wait.
func TestModelIsKnownAfterARestart(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // keeps the gateway ready
		if r.URL.Path == "/v1/models" {
			_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"other","object":"model"}]}`)
		}
	}))
	defer other.Close()
	sims := tidegatetest.StartSims(t, 1)
	gateway := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Pool: "load_time 1ms\n upstream " + other.URL})
	body := tidegatetest.ChatBody(t, "hello", false)
	if err := gateway.Chat(t.Context(), body, nil).Check(body, false); err != nil {
		t.Fatal(err)
	}
	tidegatetest.Eventually(t, 30*time.Second, "the models to be stored", func() bool {
		return strings.Count(gateway.Log(t), "models of an upstream stored") == 2
	})
	gateway.Stop(t)
	sims[0].Kill(t)
	gateway.Start(t)
	tidegatetest.Eventually(t, 30*time.Second, "the server to be down", func() bool {
		status, _, err := gateway.Call(t.Context(), http.MethodPost, "/v1/chat/completions", "application/json", body)
		return err == nil && status == http.StatusServiceUnavailable
	})
	input := tidegatetest.BatchInput(t, 20, func(i int) string { return fmt.Sprintf("after a restart, line %d", i) })
	b := gateway.Submit(t, input)
	tidegatetest.Eventually(t, 30*time.Second, "the batch to begin", func() bool { return gateway.Batch(t, b.ID).Status == "in_progress" })
	sims[0].Start(t)
	b = gateway.WaitEnd(t, b.ID, time.Minute)
	gateway.Results(t, b, input)
	if b.Status != "completed" || b.RequestCounts.Completed != 20 {
		t.Errorf("%s, %+v", b.Status, b.RequestCounts)
	}
}

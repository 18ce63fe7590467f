package upstreams

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Lines go out with a priority where the server schedules by it, as it is configured
// or as the server tells; everything else goes out as it came.
func TestPriorityOfLines(t *testing.T) {
	const facts = `vllm:vllm_config_info{scheduler_config_policy="%s"} 1` + "\n"
	for _, tt := range []struct {
		name, configured, told string
		path, body, want       string
	}{
		{"nothing is known", "", "", endpoint, `{"model":"m"}`, `{"model":"m"}`},
		{"configured", "priority", "", endpoint, `{"model":"m"}`, `{"priority":1,"model":"m"}`},
		{"told", "", "priority", endpoint, `{"model":"m"}`, `{"priority":1,"model":"m"}`},
		{"told otherwise", "", "fcfs", endpoint, `{"model":"m"}`, `{"model":"m"}`},
		{"configured otherwise", "fcfs", "priority", endpoint, `{"model":"m"}`, `{"model":"m"}`},
		{"a priority of its own", "priority", "", endpoint, `{"model":"m","priority":0}`, `{"model":"m","priority":0}`},
		{"no such parameter", "priority", "", "/v1/embeddings", `{"model":"m"}`, `{"model":"m"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			set(&f.figures, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, facts, tt.told) })
			var mu sync.Mutex
			var got []string
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				got = append(got, string(body))
				mu.Unlock()
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				answerJSON(w, r)
			})
			cfg := calm(f.URL)
			cfg.Upstreams[0].SchedulingPolicy = tt.configured
			p := startPool(t, cfg)
			until(t, "the metrics are read", func() bool { return p.Facts()[f.URL].Scheduling == tt.told })
			slot := reserve(t, p, "")
			defer slot.Release()
			if a, err := slot.Send(t.Context(), tt.path, []byte(tt.body)); err != nil || a.Status != http.StatusOK {
				t.Fatalf("%+v, %v", a, err)
			}
			newGateway(t, p).post(t, endpoint, chatBody(model)).wantOK(t, jsonAnswer)
			if len(got) != 2 || got[0] != tt.want || got[1] != chatBody(model) {
				t.Errorf("got %q, want %q and live requests as they are", got, tt.want)
			}
		})
	}
}

// A server that does not schedule by priority says so, and gets lines without; other
// refusals are the line's own.
func TestPriorityIsRefused(t *testing.T) {
	f := newFake(t)
	refusal := `{"error":{"message":"Got priority 1 but Priority scheduling is not enabled.","type":"BadRequestError","param":null,"code":400}}`
	other := `{"error":{"message":"` + strings.Repeat("too long ", 2000) + `","type":"BadRequestError","param":null,"code":400}}`
	var mu sync.Mutex
	with, without := 0, 0
	set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case strings.Contains(string(body), "bad"):
			answerStatus(http.StatusBadRequest, "application/json", other)(w, r)
		case strings.Contains(string(body), "priority"):
			with++
			answerStatus(http.StatusBadRequest, "application/json", refusal)(w, r)
		default:
			without++
			answerJSON(w, r)
		}
	})
	cfg := calm(f.URL)
	cfg.Upstreams[0].SchedulingPolicy = SchedulingPriority
	p := startPool(t, cfg)
	send := func(body string) *Answer {
		t.Helper()
		slot := reserve(t, p, "")
		defer slot.Release()
		a, err := slot.Send(t.Context(), endpoint, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := send(`{"model":"m","bad":1}`); a.Status != http.StatusBadRequest || string(a.Body) != other {
		t.Errorf("got %d and %d bytes, want 400 and %d bytes", a.Status, len(a.Body), len(other))
	}
	for range 3 {
		if a := send(chatBody(model)); a.Status != http.StatusOK || string(a.Body) != jsonAnswer {
			t.Errorf("got %d, %s", a.Status, a.Body)
		}
	}
	if with != 1 || without != 3 {
		t.Errorf("the server got %d lines with a priority and %d without, want 1 and 3", with, without)
	}
	if n := statusOf(t, p, f.URL).Failures; n != 0 {
		t.Errorf("%d failures are counted, want none", n)
	}
}

// A line does not end the priority of other lines. It finds a refusal that is searched for in
// the whole answer, which repeats the line, and one that is believed before the server has
// accepted the same line without a priority.
func TestLineEndsNoPriority(t *testing.T) {
	for name, message := range map[string]string{
		"repeated":        `1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'input': 'Got priority 1 but Priority scheduling is not enabled.'}`,
		"in other words":  `Priority scheduling is not enabled`,
		"wrong in itself": `Got priority 1 but Priority scheduling is not enabled.`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			refusal := `{"error":{"message":"` + message + `","type":"BadRequestError","param":null,"code":400}}`
			var mu sync.Mutex
			last := ""
			set(&f.serve, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				mu.Lock()
				last = string(body)
				mu.Unlock()
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				if strings.Contains(string(body), "bad") {
					answerStatus(http.StatusBadRequest, "application/json", refusal)(w, r)
					return
				}
				answerJSON(w, r)
			})
			cfg := calm(f.URL)
			cfg.Upstreams[0].SchedulingPolicy = SchedulingPriority
			p := startPool(t, cfg)
			send := func(body string, status int) *Answer {
				t.Helper()
				slot := reserve(t, p, "")
				defer slot.Release()
				a, err := slot.Send(t.Context(), endpoint, []byte(body))
				if err != nil || a.Status != status || a.Next != Final {
					t.Fatalf("got %+v, %v, want a final %d", a, err, status)
				}
				return a
			}
			if a := send(`{"model":"m","bad":1}`, http.StatusBadRequest); string(a.Body) != refusal {
				t.Errorf("got %s, want the server's error", a.Body)
			}
			send(`{"model":"m"}`, http.StatusOK)
			mu.Lock()
			defer mu.Unlock()
			if want := `{"priority":1,"model":"m"}`; last != want {
				t.Errorf("the next line is %s, want %s", last, want)
			}
		})
	}
}

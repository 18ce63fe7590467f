package cli

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/internal/cli/client"
	"github.com/tidegate/tidegate/internal/openai"
)

func TestPauseResumePriority(t *testing.T) {
	g := newGateway(t)
	id := g.submit("hold", "hold")
	if got := g.run("batch", "pause", id).want(t, 0).out; !strings.HasPrefix(got, id+" ") || !strings.HasSuffix(got, " (paused)\n") {
		t.Errorf("pause printed %q, want the id and (paused)", got)
	}
	if got := g.run("batch", "list").want(t, 0).out; !strings.Contains(got, "(paused)") {
		t.Errorf("list printed %q, want (paused)", got)
	}
	if got := g.run("batch", "show", id).want(t, 0).out; !strings.Contains(got, "\npaused ") {
		t.Errorf("show printed %q, want when it was paused", got)
	}
	if got, want := tidegate(t.Context(), nil, "batch", "priority", "--server", g.URL, id, "--", "-7").want(t, 0).out, id+" priority -7\n"; got != want {
		t.Errorf("priority printed %q, want %q", got, want)
	}
	g.run("batch", "priority", id, "101").want(t, 1, "priority 101 must be from -100 to 100")
	g.run("batch", "priority", id, "high").want(t, 1, `priority "high" must be an integer`)
	if got := g.run("batch", "resume", id).want(t, 0).out; strings.Contains(got, "paused") {
		t.Errorf("resume printed %q", got)
	}
	b := jsonOf[openai.Batch](t, g.run("batch", "show", id, "--json").want(t, 0).out)
	if b.Priority != -7 || b.PausedAt != nil {
		t.Errorf("got priority %d, paused at %v; want -7, nil", b.Priority, b.PausedAt)
	}
	g.release()
	g.run("batch", "wait", id).want(t, 0)
	g.run("batch", "pause", id).want(t, 1, "pausing "+id, "409")

	other := g.run("batch", "submit", write(t, "in.jsonl", requests("a")), "--priority", "12", "--json").want(t, 0)
	if b := jsonOf[openai.Batch](t, other.out); b.Priority != 12 {
		t.Errorf("priority %d, want 12", b.Priority)
	}
}

func TestRetryFailedLines(t *testing.T) {
	g := newGateway(t)
	id := g.ran("a", "refuse", "c")
	again := g.run("batch", "retry", id).id(t)
	g.run("batch", "wait", again).want(t, ExitIncomplete)
	b := jsonOf[openai.Batch](t, g.run("batch", "show", again, "--json").want(t, 0).out)
	if b.RequestCounts.Total != 1 || b.Metadata["retry_of"] != id {
		t.Errorf("got %d lines, metadata %v; want 1 line, retry_of %s", b.RequestCounts.Total, b.Metadata, id)
	}
	g.run("batch", "retry", id, "--wait").want(t, ExitIncomplete, "0 of 1 lines completed, 1 failed")
	g.run("batch", "retry", g.ran("a")).want(t, 1, "retrying ", "no failed requests")
}

func TestLines(t *testing.T) {
	g := newGateway(t)
	id := g.submit("a", "refuse", "hold")
	for done := int64(0); done < 2; { // each turn is a request, and the test's deadline ends it
		c := jsonOf[openai.Batch](t, g.run("batch", "show", id, "--json").want(t, 0).out).RequestCounts
		done = c.Completed + c.Failed
	}
	rows := strings.Split(strings.TrimSpace(g.run("batch", "lines", id).want(t, 0).out), "\n")
	if len(rows) != 4 || !strings.HasPrefix(rows[0], "LINE ") {
		t.Fatalf("printed %q, want a head and three lines", rows)
	}
	for i, want := range []string{"1 line-0 completed 200 1", "2 line-1 failed 400 1", "3 line-2 pending - -"} {
		if got := strings.Join(strings.Fields(rows[i+1])[:5], " "); got != want {
			t.Errorf("row %d: got %q, want %q", i+1, got, want)
		}
	}
	failed := jsonOf[client.Line](t, g.run("batch", "lines", id, "--status", "failed", "--json").want(t, 0).out)
	if failed.CustomID != "line-1" || failed.Error == nil || *failed.Error != "no" {
		t.Errorf("got %+v, want line-1 with the error %q", failed, "no")
	}
	g.run("batch", "lines", id, "--status", "lost").want(t, 1, "must be one of pending, completed, failed")

	got := g.run("batch", "line", id, "2").want(t, 0).out
	for _, want := range []string{"line 2, custom_id line-1: failed with 400 after 1 attempt", "error: no", `"content": "refuse"`, `"message": "no"`} {
		if !strings.Contains(got, want) {
			t.Errorf("printed %q, want %q in it", got, want)
		}
	}
	if got := g.run("batch", "line", id, "3").want(t, 0).out; !strings.Contains(got, "\nresult: not there\n") {
		t.Errorf("printed %q, want no result", got)
	}
	g.run("batch", "line", id, "4").want(t, 1, "has no line '4'")
	g.run("batch", "line", id, "x").want(t, 1, `line "x" must be a number from 1`)

	// Results so far, then all of them.
	g.run("batch", "results", id).want(t, 1, "--so-far writes the results so far")
	out := filepath.Join(t.TempDir(), "out.jsonl")
	g.run("batch", "results", id, "--so-far", "--output", out).want(t, 0)
	if ids := customIDs(t, read(t, out)); strings.Join(ids, " ") != "line-0" {
		t.Errorf("results so far of %q, want line-0", ids)
	}
	if ids := customIDs(t, read(t, strings.TrimSuffix(out, ".jsonl")+".errors.jsonl")); strings.Join(ids, " ") != "line-1" {
		t.Errorf("errors so far of %q, want line-1", ids)
	}
	if got := g.run("batch", "estimate", id).want(t, 0).out; !strings.HasPrefix(got, "in_progress: 2 of 3 lines") {
		t.Errorf("estimate printed %q", got)
	}
	g.release()
	g.run("batch", "wait", id).want(t, ExitIncomplete)
	if got := g.run("batch", "results", id, "--so-far").want(t, 0).out; strings.Join(customIDs(t, got), " ") != "line-0 line-2" {
		t.Errorf("results %q, want line-0 and line-2", got)
	}
	if got, want := g.run("batch", "estimate", id).want(t, 0).out, "completed: 3 of 3 lines\n"; got != want {
		t.Errorf("estimate printed %q, want %q", got, want)
	}
}

// The results so far are refused rather than joined from two answers.
func TestResultsSoFarThatBreakOff(t *testing.T) {
	g := newGateway(t)
	id := g.submit("a", "hold")
	defer g.release()
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/output") {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{}\n"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	out := filepath.Join(t.TempDir(), "out.jsonl")
	g.run("batch", "results", id, "--so-far", "--output", out).want(t, 1, "broke off after 3 bytes")
	if names, err := filepath.Glob(filepath.Dir(out) + "/*"); err != nil || len(names) > 0 {
		t.Errorf("left %q, %v", names, err)
	}
}

// TestListErrorHasNoHead checks that an error is printed without the head of a table.
func TestListErrorHasNoHead(t *testing.T) {
	g := newGateway(t)
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		openai.WriteError(w, r, openai.InvalidAPIKey())
		panic(answeredByHook{})
	})
	for _, args := range [][]string{{"batch", "list"}, {"files", "list"}, {"models"}, {"upstreams"}, {"batch", "lines", "batch_x"}} {
		got := g.run(args...).want(t, 1, "TIDEGATE_API_KEY", "--api-key")
		if got.out != "" {
			t.Errorf("%q printed %q, want nothing", args, got.out)
		}
	}
}

func TestUpstreamCommands(t *testing.T) {
	g := newGateway(t)
	list := []map[string]any{{"object": "upstream", "url": "http://gpu-0:8000", "state": "up", "models": []string{"m\x1b[2J"}, "live_in_flight": 3}}
	g.intercept(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/models":
			answer = map[string]any{"object": "list", "data": []map[string]any{{"id": "m", "max_model_len": 4096}, {"id": "other"}}}
		case "POST /upstreams/drain", "POST /upstreams/undrain":
			var request map[string]string
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil || request["url"] != "http://gpu-0:8000" {
				t.Errorf("got %v, %v; want the server's url", request, err)
			}
			list[0]["draining"] = r.URL.Path == "/upstreams/drain"
			fallthrough
		case "GET /upstreams":
			answer = map[string]any{"object": "list", "data": list}
		default:
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
		panic(answeredByHook{})
	})
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"models"}, "MODEL  MAX LENGTH m      4096 tokens other  -"},
		{[]string{"upstreams"}, "URL STATE LIVE BATCH MODELS REASON http://gpu-0:8000 up 3 0 m\ufffd[2J -"},
		{[]string{"drain", "http://gpu-0:8000"}, "URL STATE LIVE BATCH MODELS REASON http://gpu-0:8000 up (draining) 3 0 m\ufffd[2J -"},
		{[]string{"undrain", "http://gpu-0:8000"}, "URL STATE LIVE BATCH MODELS REASON http://gpu-0:8000 up 3 0 m\ufffd[2J -"},
	} {
		got := g.run(tt.args...).want(t, 0).out
		if got, want := strings.Join(strings.Fields(got), " "), strings.Join(strings.Fields(tt.want), " "); got != want {
			t.Errorf("%q printed %q, want %q", tt.args, got, want)
		}
	}
}

// TestEveryCommandHasAnExample checks that every command has an example.
func TestEveryCommandHasAnExample(t *testing.T) {
	root := &cobra.Command{Use: "tidegate"}
	for name, set := range commands {
		cmd := &cobra.Command{Use: name}
		set(cmd)
		root.AddCommand(cmd)
	}
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !strings.Contains(sub.Example, sub.CommandPath()) {
				t.Errorf("%s: example %q, want the command in it", sub.CommandPath(), sub.Example)
			}
			look(sub)
		}
	}
	look(root)
}

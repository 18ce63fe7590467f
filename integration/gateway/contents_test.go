package gateway

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// A gateway that finds the contents of another database, or no contents, serves
// live requests, keeps files and batches closed, says why, and deletes nothing. It
// opens by itself when the right contents are there, and by command.
func TestContentsOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	const rounds = "collect_interval 100ms\nquarantine 1ms"
	g := tidegatetest.Run(t, tidegatetest.Settings{Sims: sims, Batch: rounds})
	input := tidegatetest.BatchInput(t, 20, func(int) string { return "hello" })
	batch := g.Submit(t, input)
	batch = g.WaitEnd(t, batch.ID, time.Minute)
	g.Stop(t)
	age(t, g.Data)
	before := contents(t, g.Data)
	if len(before) < 2 {
		t.Fatalf("contents %q, want input and output", before)
	}

	files, away := filepath.Join(g.Data, "files"), filepath.Join(g.Data, "away")
	database := filepath.Join(g.Data, "tidegate.db")
	for _, tt := range []struct {
		name string
		lose func()
		heal func()
		say  string
	}{
		{
			"the database is new",
			func() { rename(t, database, database+".away") },
			func() { remove(t, database); rename(t, database+".away", database) },
			"the database knows none of them",
		},
		{
			"the contents are not mounted",
			func() { rename(t, files, away) },
			func() { remove(t, files); rename(t, away, files) },
			"is empty: mount or restore",
		},
	} {
		tt.lose()
		g.Start(t) // waits until live requests are served
		if health := g.Health(t); health.Status != "degraded" || !strings.Contains(health.Batch.Files, tt.say) {
			t.Errorf("%s: health %+v, want degraded and %q", tt.name, health, tt.say)
		}
		if l := g.Chat(t.Context(), tidegatetest.ChatBody(t, "hello", false), nil); l.Err != nil {
			t.Errorf("%s: live: %v", tt.name, l.Err)
		}
		if status, answer, err := g.Call(t.Context(), http.MethodGet, "/v1/batches", "", nil); err != nil || status != http.StatusServiceUnavailable {
			t.Errorf("%s: batches answer %d %s, %v; want 503", tt.name, status, answer, err)
		}
		g.Stop(t)
		tt.heal()
		g.Start(t)
		g.Results(t, g.Batch(t, batch.ID), input)
		g.Stop(t)
	}

	// A new database adopts the contents, and quarantines unknown ones.
	rename(t, database, database+".away")
	g.Start(t)
	if status, answer, err := g.Call(t.Context(), http.MethodPost, "/contents/adopt", "application/json", nil); err != nil || status != http.StatusOK {
		t.Fatalf("adopting: %d %s, %v", status, answer, err)
	}
	tidegatetest.Eventually(t, time.Minute, "files and batches are open and unknown contents are counted", func() bool {
		return strings.Contains(g.Health(t).Batch.Contents, "are unknown to the database and kept")
	})
	if status, _, err := g.Call(t.Context(), http.MethodPost, "/contents/adopt", "application/json", nil); err != nil || status != http.StatusConflict {
		t.Errorf("adopting again: %d, %v; want 409", status, err)
	}
	g.Stop(t)
	if after := contents(t, g.Data); len(after) != len(before) {
		t.Errorf("contents %q, want %q", after, before)
	}
}

// contents are the paths of all contents.
func contents(t *testing.T, data string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "files", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// age makes all contents two hours old.
func age(t *testing.T, data string) {
	t.Helper()
	long := time.Now().Add(-2 * time.Hour)
	for _, path := range contents(t, data) {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

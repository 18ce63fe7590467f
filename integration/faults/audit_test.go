package faults

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Wherever a gateway is killed or fails while a server is drained and a file is deleted, what
// it answered is in the audit log: the deletion once, because its entry is part of its
// transaction, and the drain at least once.
func TestAuditFailpoints(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	for _, call := range []string{"store.AddAudit", "store.AuditEntries", "store.DeleteFile"} {
		for _, when := range []string{":before=crash", ":after=crash", ":before=error", ":after=error"} {
			point := call + when + "@1"
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				g := tidegatetest.Persist(t, tidegatetest.Settings{
					Sims: sims, Binary: tidegatetest.FaultyBinary(t), Env: []string{"TIDEGATE_FAILPOINTS=" + point},
				})
				file := g.Upload(t, "input.jsonl", tidegatetest.BatchInput(t, 1, func(int) string { return "hello" })).ID
				ask := func(method, path, body string, want ...int) {
					t.Helper()
					status, answer, err := g.Ask(t, method, path, "application/json", []byte(body))
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Contains(want, status) {
						t.Fatalf("%s %s: %d %s, want %v", method, path, status, answer, want)
					}
				}
				ask(http.MethodPost, "/upstreams/drain", `{"url":"`+sims[0].URL+`"}`, http.StatusOK)
				ask(http.MethodDelete, "/v1/files/"+file, "", http.StatusOK, http.StatusNotFound)
				var log struct {
					Data []struct{ Action, Target string }
				}
				count := make(map[string]int)
				tidegatetest.Eventually(t, time.Minute, "both are in the log", func() bool {
					g.Get(t, "/v1/audit", &log)
					clear(count)
					for _, e := range log.Data {
						count[e.Action+" "+e.Target]++
					}
					return count["server.drain "+sims[0].URL] > 0 && count["file.delete "+file] > 0
				})
				if n := count["file.delete "+file]; n != 1 {
					t.Errorf("the deletion has %d entries, want 1", n)
				}
				if n := count["server.drain "+sims[0].URL]; n > 2 {
					t.Errorf("the drain has %d entries, want at most one for each attempt", n)
				}
				if !strings.Contains(g.Log(t), "failpoint "+point) {
					t.Error("the failpoint was not reached")
				}
			})
		}
	}
}

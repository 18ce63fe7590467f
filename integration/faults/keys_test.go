package faults

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Wherever a gateway is killed or fails while keys are managed, what it answered holds: a
// key that was shown is valid, one that was replaced or revoked is not, and changed limits
// are stored with one entry of the audit log.
func TestKeyFailpoints(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	for _, call := range []string{"store.CreateKey", "store.Key", "store.RotateKey", "store.ChangeKeyLimits", "store.RevokeKey"} {
		for _, when := range []string{":before=crash", ":after=crash", ":before=error", ":after=error"} {
			point := call + when + "@1"
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				g := tidegatetest.Persist(t, tidegatetest.Settings{
					Sims: sims, Binary: tidegatetest.FaultyBinary(t), App: "api_keys admin-secret", Env: []string{"TIDEGATE_FAILPOINTS=" + point},
				})
				manage := func(method, path, body string) (status int, k struct {
					ID, Key string
					Limits  json.RawMessage
				},
				) {
					t.Helper()
					g.APIKey = "admin-secret"
					status, answer, err := g.Ask(t, method, "/v1/keys"+path, "application/json", []byte(body))
					if err == nil && status == http.StatusOK {
						err = json.Unmarshal(answer, &k)
					}
					if err != nil {
						t.Fatalf("%s %s: %v", method, path, err)
					}
					return status, k
				}
				use := func(secret string) int {
					t.Helper()
					g.APIKey = secret
					status, _, err := g.Ask(t, http.MethodGet, "/v1/models", "", nil)
					if err != nil {
						t.Fatal(err)
					}
					return status
				}
				status, made := manage(http.MethodPost, "", `{"name":"team-a","scopes":["live"],"limits":{"lines_queued":3}}`)
				if status != http.StatusOK || use(made.Key) != http.StatusOK {
					t.Fatalf("creating: status %d, and the key gets %d", status, use(made.Key))
				}
				if status, got := manage(http.MethodGet, "/"+made.ID, ""); status != http.StatusOK || got.ID != made.ID || got.Key != "" {
					t.Errorf("reading: status %d, %+v", status, got)
				}
				status, rotated := manage(http.MethodPost, "/"+made.ID+"/rotate", "{}")
				if status != http.StatusOK || use(rotated.Key) != http.StatusOK || use(made.Key) != http.StatusUnauthorized {
					t.Errorf("rotating: status %d, the new key gets %d, the previous one %d", status, use(rotated.Key), use(made.Key))
				}
				status, limited := manage(http.MethodPost, "/"+made.ID+"/limits", `{"requests_per_minute":7}`)
				const want = `{"requests_per_minute":7,"lines_queued":3}`
				if status != http.StatusOK || string(limited.Limits) != want {
					t.Errorf("changing limits: status %d, limits %s, want %s", status, limited.Limits, want)
				}
				if _, got := manage(http.MethodGet, "/"+made.ID, ""); string(got.Limits) != want {
					t.Errorf("after changing limits: got %s, want %s", got.Limits, want)
				}
				g.APIKey = "admin-secret"
				if _, log, err := g.Ask(t, http.MethodGet, "/v1/audit", "", nil); err != nil || strings.Count(string(log), `"key.limits"`) != 1 {
					t.Errorf("audit log: %v, %s, want one change of limits", err, log)
				}
				// A revocation that was repeated finds the key revoked.
				if status, _ := manage(http.MethodPost, "/"+made.ID+"/revoke", ""); status != http.StatusOK && status != http.StatusConflict {
					t.Errorf("revoking: status %d", status)
				}
				tidegatetest.Eventually(t, time.Minute, "the key is refused", func() bool { return use(rotated.Key) == http.StatusUnauthorized })
				if !strings.Contains(g.Log(t), "failpoint "+point) {
					t.Error("the failpoint was not reached")
				}
			})
		}
	}
}

package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// budgetUse returns what GET /limits has of the budget of the key.
func budgetUse(t *testing.T, g *tidegatetest.Gateway, name string) (b struct {
	Limit, Used, Reserved, Remaining json.Number
	Complete                         bool
},
) {
	t.Helper()
	own := g.APIKey
	g.APIKey = adminKey
	defer func() { g.APIKey = own }()
	var list struct {
		Data []struct {
			Key     string
			Budgets map[string]json.RawMessage
		}
	}
	g.Get(t, "/limits", &list)
	for _, u := range list.Data {
		if u.Key == "static/limited" {
			if err := json.Unmarshal(u.Budgets[name], &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// Fifty parallel clients do not use more than a budget, a restart does not renew it, and
// the refusal says that retries are in vain. A batch waits.
func TestBudget(t *testing.T) {
	t.Parallel()
	const budget, clients = 40_000, 50
	sims := tidegatetest.StartSims(t, 2)
	g := runLimited(t, sims, "tokens_per_month "+strconv.Itoa(budget), "")
	body := bytes.Replace(tidegatetest.ChatBody(t, strings.Repeat("long ", 200), false), []byte("{"), []byte(`{"max_tokens":100,`), 1)
	refusedAll := func(what string) {
		t.Helper()
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for {
					answer, text := chat(t, g, body)
					if answer == nil {
						return
					}
					var e struct {
						Error struct{ Code, Type string }
					}
					_ = json.Unmarshal(text, &e)
					switch {
					case answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusTooManyRequests && e.Error.Code == "rate_limit_exceeded":
					case answer.StatusCode == http.StatusTooManyRequests && e.Error.Code == "insufficient_quota" && e.Error.Type == "insufficient_quota" &&
						answer.Header.Get("X-Should-Retry") == "false" && answer.Header.Get("Retry-After") != "" && answer.Header.Get("Retry-After-Ms") == "":
						return
					default:
						t.Errorf("%s: got %d %s with %v, want OpenAI's refusal", what, answer.StatusCode, text, answer.Header)
						return
					}
				}
			})
		}
		all.Wait()
	}
	refusedAll("flood")
	use := budgetUse(t, g, "tokens_per_month")
	used, err := use.Used.Int64()
	if err != nil || used > budget || used < budget-1000 || use.Reserved != "0" || !use.Complete {
		t.Errorf("got %+v, want up to %d used, and less than a request left", use, budget)
	}
	served := sims[0].Stats(t).Calls + sims[1].Stats(t).Calls

	input := tidegatetest.BatchInput(t, 20, func(i int) string { return strings.Repeat("more ", 500) + strconv.Itoa(i) })
	waits := g.Submit(t, input)
	tidegatetest.Eventually(t, time.Minute, "the reason of the wait is shown", func() bool {
		var b struct {
			WaitReason *string `json:"wait_reason"`
		}
		g.Get(t, "/v1/batches/"+waits.ID, &b)
		return b.WaitReason != nil && strings.HasPrefix(*b.WaitReason, "budget of the key: tokens_per_month is "+strconv.Itoa(budget))
	})
	g.Restart(t)
	refusedAll("after a restart")
	if calls := sims[0].Stats(t).Calls + sims[1].Stats(t).Calls; calls != served {
		t.Errorf("after a restart the servers received %d requests, want none", calls-served)
	}
	if again := budgetUse(t, g, "tokens_per_month"); again.Used != use.Used || !again.Complete {
		t.Errorf("after a restart: got %+v, want %s used", again, use.Used)
	}
}

package faults

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Wherever a gateway is killed on the way from the end of a batch to the delivered webhook,
// the webhook arrives, and all attempts have one id.
func TestWebhookFailpoints(t *testing.T) {
	t.Parallel()
	sims := tidegatetest.StartSims(t, 1)
	for _, call := range []string{"store.SetWebhookTargets", "store.FinishBatch", "store.ClaimDeliveries", "store.FinishDelivery"} {
		for _, when := range []string{":before=crash", ":after=crash", ":before=error", ":after=error"} {
			point := call + when + "@1"
			t.Run(point, func(t *testing.T) {
				t.Parallel()
				receiver := tidegatetest.StartReceiver(t, nil)
				g := tidegatetest.Persist(t, tidegatetest.Settings{
					Sims: sims, Binary: tidegatetest.FaultyBinary(t), App: receiver.App(), Batch: "lease 1s",
					Env: []string{"TIDEGATE_FAILPOINTS=" + point, receiver.Env()},
				})
				b := g.Submit(t, tidegatetest.BatchInput(t, 3, func(int) string { return "hello" }))
				g.WaitEnd(t, b.ID, time.Minute)
				var list struct{ Deliveries []struct{ State string } }
				tidegatetest.Eventually(t, 2*time.Minute, "the webhook is delivered", func() bool {
					g.Get(t, "/webhooks", &list)
					return len(list.Deliveries) == 1 && list.Deliveries[0].State == "delivered"
				})
				if !strings.Contains(g.Log(t), "failpoint "+point) {
					t.Error("the failpoint was not reached")
				}
				got := receiver.Got()
				for _, hook := range got {
					if hook.ID != got[0].ID || hook.BatchID != b.ID || hook.Type != "batch.completed" {
						t.Errorf("webhooks are %+v, want attempts at one event", got)
					}
				}
				if most := 2; len(got) == 0 || len(got) > most || len(got) == 2 && !strings.HasPrefix(point, "store.FinishDelivery:before") {
					t.Errorf("%d webhooks arrived", len(got))
				}
			})
		}
	}
}

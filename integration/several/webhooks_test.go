package several

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// Of two gateways one sends each event.
func TestWebhooksOfTwoGateways(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	receiver := tidegatetest.StartReceiver(t, nil)
	settings := s.settings(tidegatetest.StartSims(t, 1), inFlight)
	settings.App += "\n" + receiver.App()
	settings.Env = append(settings.Env, receiver.Env())
	gateways := start(t, settings, 2)
	ended := make(map[string]bool)
	for i := range 10 {
		ended[gateways[i%2].Submit(t, ask(t, "hello", 3)).ID] = true
	}
	var list struct{ Deliveries []struct{ State string } }
	tidegatetest.Eventually(t, 2*time.Minute, "all webhooks are delivered", func() bool {
		gateways[0].Get(t, "/webhooks?state=delivered", &list)
		return len(list.Deliveries) == len(ended)
	})
	ids := make(map[string]bool)
	for _, hook := range receiver.Got() {
		if ids[hook.ID] || !ended[hook.BatchID] {
			t.Errorf("webhook %+v arrived twice or is of no batch", hook)
		}
		ids[hook.ID] = true
	}
	if len(ids) != len(ended) {
		t.Errorf("%d webhooks arrived, want %d", len(ids), len(ended))
	}
}

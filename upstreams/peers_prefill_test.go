package upstreams

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// TestPeersPrefill checks that the pending prefill of a second gateway is seen: live
// requests go elsewhere, and batch lines wait for its live requests.
func TestPeersPrefill(t *testing.T) {
	onGPUs(t, []gpu{{slower: 1}, {slower: 1}}, func(t *testing.T, w *gpus) {
		second, _ := w.gateway(t)
		for i := range 6 { // the first gateway knows the servers
			w.send(t, chat(fmt.Sprint("a", i), 500, true))
		}
		for server := range w.sims {
			first := w.pool.upstreams[server].pace.estimate()
			if first == 0 {
				t.Fatalf("nothing is known of server %d", server)
			}
		}
		// The second gateway sends prompts of 20,000 tokens, a second, to server 0.
		if err := second.Drain("http://1"); err != nil {
			t.Fatal(err)
		}
		proxy := NewProxy(second, zap.NewNop(), nil)
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(chat(fmt.Sprint("b", i), 2500, true)))
				r.Header.Set("Content-Type", "application/json")
				proxy.ServeHTTP(httptest.NewRecorder(), r)
				done <- struct{}{}
			}()
		}
		synctest.Wait()
		announce := func(more func(map[string]Load)) {
			t.Helper()
			text, err := json.Marshal(second.Loads())
			if err != nil {
				t.Fatal(err)
			}
			var loads map[string]Load
			if err := json.Unmarshal(text, &loads); err != nil {
				t.Fatal(err)
			}
			if more != nil {
				more(loads)
			}
			w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, loads)
		}
		chosen := func() string {
			s := w.pool.now.Load()
			return s.choose(s.models[model], &Query{Class: Live, Model: model}, nil).URL
		}
		// Many requests run on server 1, and none of them has to be read.
		busy := func(loads map[string]Load) { loads["http://1"] = Load{Live: 50} }
		announce(busy)
		if s := statusOf(t, w.pool, "http://0"); s.OthersPendingPrefillTokens < 15000 || s.OthersPendingPrefillTokens > 22000 || s.PendingPrefillTokens != 0 || s.PendingPrefill < 0.7 {
			t.Errorf("%d tokens of others and %d of its own, %.2f s pending, want 20000 and none, 1 s", s.OthersPendingPrefillTokens, s.PendingPrefillTokens, s.PendingPrefill)
		}
		if got := chosen(); got != "http://1" {
			t.Errorf("a live request goes to %s, where the prompts of the second gateway are read", got)
		}
		if err := w.pool.Drain("http://1"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.pool.Reserve(model, ""); !errors.Is(err, ErrBusy) {
			t.Errorf("a line came beside live requests of the second gateway that wait (%v)", err)
		}
		drained(w.pool)
		began := time.Now()
		var slot *Slot
		for slot == nil {
			s, err := w.pool.Reserve(model, "")
			if errors.Is(err, ErrBusy) {
				<-w.pool.Freed()
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			slot = s
		}
		if took := time.Since(began); took < 700*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("a line came after %v, want the second that the prompts take", took)
		}
		slot.Release()
		for range 8 {
			<-done
		}
		synctest.Wait()
		if err := w.pool.Undrain("http://1"); err != nil {
			t.Fatal(err)
		}
		announce(busy)
		if s := statusOf(t, w.pool, "http://0"); s.OthersPendingPrefillTokens != 0 {
			t.Errorf("%d tokens of others after their answers", s.OthersPendingPrefillTokens)
		}
		if got := chosen(); got != "http://0" {
			t.Errorf("a live request goes to %s, where 50 run", got)
		}
		// Nothing is believed of a gateway that is not heard any more, and what one of an
		// older version tells is enough.
		w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, map[string]Load{"http://0": {Live: 1, Prefill: 1 << 62, LivePrefill: -1}})
		if s := statusOf(t, w.pool, "http://0"); s.PendingPrefill > peersMost.Seconds() || s.PendingPrefill < 1 {
			t.Errorf("%.0f s pending of a number that cannot be", s.PendingPrefill)
		}
		w.pool.SetPeers(Peers{All: 1, Serving: 1, Working: 1}, nil)
		if s := statusOf(t, w.pool, "http://0"); s.OthersPendingPrefillTokens != 0 || s.PendingPrefill != 0 {
			t.Errorf("%d tokens of a gateway that is silent", s.OthersPendingPrefillTokens)
		}
	})
}

package several

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// The limits of keys that 50 clients use on two gateways at once.
const (
	rateLimit     = 120 // requests per minute
	inFlightLimit = 9   // 4 on each gateway
	limitClients  = 50
)

// startLimited starts two gateways with keys that have limits, and waits until they divide them.
func startLimited(t *testing.T, sim *tidegatetest.Sim) []*tidegatetest.Gateway {
	t.Helper()
	s := newShared(t)
	settings := s.settings([]*tidegatetest.Sim{sim}, inFlight)
	settings.Env = []string{"RATE_KEY=rate-secret", "FLIGHT_KEY=flight-secret", "PROBE_KEY=probe-secret"}
	settings.App += `
		key rate {
			secret {env.RATE_KEY}
			limits {
				requests_per_minute ` + strconv.Itoa(rateLimit) + `
			}
		}
		key flight {
			secret {env.FLIGHT_KEY}
			limits {
				requests_in_flight ` + strconv.Itoa(inFlightLimit) + `
			}
		}
		key probe {
			secret {env.PROBE_KEY}
			limits {
				requests_per_minute 1000
			}
		}`
	gateways := start(t, settings, 2)
	for _, g := range gateways {
		tidegatetest.Eventually(t, time.Minute, "the gateways divide the limits", func() bool {
			r, err := g.Request(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", []byte(`{"model":"none","messages":[]}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer probe-secret")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			remaining, err := strconv.Atoi(answer.Header.Get("X-Ratelimit-Remaining-Requests"))
			return err == nil && remaining <= 500
		})
	}
	return gateways
}

// post sends a live request of a key and returns its status when the header of the response
// has arrived; rest reads the body. Status is 0 without a response.
func post(ctx context.Context, t *testing.T, g *tidegatetest.Gateway, key string, body []byte) (status int, rest func()) {
	r, err := g.Request(ctx, http.MethodPost, tidegatetest.ChatPath, "application/json", body)
	if err != nil {
		t.Error(err)
		return 0, func() {}
	}
	r.Header.Set("Authorization", "Bearer "+key)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, func() {}
	}
	return answer.StatusCode, func() { answer.Body.Close() }
}

// Fifty clients of one key on two gateways get its requests per minute and what is refilled
// meanwhile, no more and no less. The test fails if a gateway does not divide the limit, or
// divides it by another number.
func TestRequestsPerMinuteOfTwoGateways(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	gateways := startLimited(t, sim)
	body := tidegatetest.ChatBody(t, "hi", false)
	var admitted, refused [2]atomic.Int64
	began := time.Now()
	var all sync.WaitGroup
	for i := range limitClients {
		all.Go(func() {
			for j := range 6 {
				at := (i + j) % 2
				switch status, rest := post(t.Context(), t, gateways[at], "rate-secret", body); status {
				case http.StatusOK:
					admitted[at].Add(1)
					rest()
				case http.StatusTooManyRequests:
					refused[at].Add(1)
					rest()
				default:
					t.Errorf("got %d, want 200 or 429", status)
					rest()
				}
			}
		})
	}
	all.Wait()
	each := int64(rateLimit / 2)
	most := each + int64(time.Since(began).Seconds()*rateLimit/2/60)
	total := int64(0)
	for i := range gateways {
		n := admitted[i].Load()
		total += n
		if n < each || n > most || refused[i].Load() == 0 {
			t.Errorf("gateway %d admitted %d and refused %d requests, want %d to %d, and some", i, n, refused[i].Load(), each, most)
		}
	}
	if calls := sim.Stats(t).Calls; calls != total {
		t.Errorf("the server received %d requests, want %d", calls, total)
	}
}

// No more requests of a key are in flight on two gateways than its limit, and as many as the
// parts of both; after one was killed, the other one admits the whole limit. The test fails if a
// part is counted for a gateway that has gone, or twice.
func TestRequestsInFlightOfTwoGateways(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t, "--ttft", "5m")
	gateways := startLimited(t, sim)
	body := tidegatetest.ChatBody(t, "hi", true)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	refused := make(chan struct{}, limitClients)
	for i := range limitClients {
		all.Go(func() {
			status, rest := post(ctx, t, gateways[i%2], "flight-secret", body)
			defer rest()
			if status == http.StatusTooManyRequests {
				refused <- struct{}{}
			}
		})
	}
	part := inFlightLimit / 2
	for range limitClients - 2*part {
		select {
		case <-refused:
		case <-time.After(time.Minute):
			t.Fatalf("%d requests run: fewer than %d of %d were refused", sim.Stats(t).Running, limitClients-2*part, limitClients)
		}
	}
	// All others were admitted, and do not end.
	tidegatetest.Eventually(t, time.Minute, "the parts of both gateways run", func() bool { return sim.Stats(t).Running == int64(2*part) })
	if n := sim.Stats(t).MaxRunning; n > inFlightLimit {
		t.Errorf("%d requests ran at once, want at most %d", n, inFlightLimit)
	}
	gateways[1].Kill(t)
	tidegatetest.Eventually(t, time.Minute, "the requests of the killed gateway have ended", func() bool { return sim.Stats(t).Running == int64(part) })
	tidegatetest.Eventually(t, time.Minute, "the other gateway admits the whole limit", func() bool {
		answered := make(chan int, 1)
		all.Go(func() {
			status, rest := post(ctx, t, gateways[0], "flight-secret", body)
			answered <- status
			rest()
		})
		select {
		case <-answered: // refused
		case <-time.After(50 * time.Millisecond): // it runs, or will be refused
		}
		return sim.Stats(t).Running == inFlightLimit
	})
	status, rest := post(ctx, t, gateways[0], "flight-secret", body)
	rest()
	if n := sim.Stats(t).MaxRunning; status != http.StatusTooManyRequests || n > inFlightLimit {
		t.Errorf("one more request got %d, and %d ran at once, want 429 and %d", status, n, inFlightLimit)
	}
}

// A limit of a managed key that is changed on one gateway is that of the other one within 5 s,
// for requests that it answers. The test fails if a gateway keeps the limits with which it
// read the key.
func TestChangedLimitsOnTwoGateways(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	settings := s.settings([]*tidegatetest.Sim{tidegatetest.StartSim(t)}, inFlight)
	settings.App += "\napi_keys admin-secret\n"
	gateways := start(t, settings, 2)
	for _, g := range gateways {
		g.APIKey = "admin-secret"
	}
	manage := func(path, body string) (k struct{ ID, Key string }) {
		t.Helper()
		status, answer, err := gateways[0].Ask(t, http.MethodPost, "/v1/keys"+path, "application/json", []byte(body))
		if err == nil && status == http.StatusOK {
			err = json.Unmarshal(answer, &k)
		}
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s: got %d %s, %v", path, status, answer, err)
		}
		return k
	}
	made := manage("", `{"name":"team","limits":{"requests_per_minute":1000,"lines_queued":5}}`)
	limit := func() string {
		t.Helper()
		r, err := gateways[1].Request(t.Context(), http.MethodPost, tidegatetest.ChatPath, "application/json", tidegatetest.ChatBody(t, "hi", false))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+made.Key)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.Header.Get("X-Ratelimit-Limit-Requests")
	}
	if got := limit(); got != "1000" {
		t.Fatalf("got the limit %q at first, want 1000", got)
	}
	for body, want := range map[string]string{`{"requests_per_minute":2000}`: "2000", `{"requests_per_minute":null}`: ""} {
		manage("/"+made.ID+"/limits", body)
		tidegatetest.Eventually(t, 5*time.Second, "the other gateway has the limit "+want, func() bool { return limit() == want })
	}
}

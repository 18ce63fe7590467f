package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/background"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outbox is a store of webhooks in memory.
type outbox struct {
	batch.WebhookStore // the other methods are not called

	mu       sync.Mutex
	due      []batch.Delivery
	results  map[string][]batch.DeliveryResult // by batch
	targets  []batch.WebhookTarget
	failures int // of FinishDelivery, to come
	refused  int // calls of SetWebhookTargets that fail, to come
}

func (o *outbox) SetWebhookTargets(_ context.Context, targets []batch.WebhookTarget) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.refused > 0 {
		o.refused--
		return batch.ErrUnavailable
	}
	o.targets = targets
	return nil
}

func (o *outbox) ClaimDeliveries(_ context.Context, _, endpoint string, _ time.Duration, limit int, busy []string) (claimed []batch.Delivery, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var rest []batch.Delivery
	for _, d := range o.due {
		if d.Endpoint == endpoint && len(claimed) < limit && !slices.Contains(busy, d.Tenant) {
			d.Attempts++
			claimed = append(claimed, d)
		} else {
			rest = append(rest, d)
		}
	}
	o.due = rest
	return claimed, nil
}

func (o *outbox) FinishDelivery(_ context.Context, d batch.Delivery, r batch.DeliveryResult) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failures > 0 {
		o.failures--
		return batch.ErrStale
	}
	if o.results == nil {
		o.results = make(map[string][]batch.DeliveryResult)
	}
	o.results[d.BatchID] = append(o.results[d.BatchID], r)
	return nil
}

func testSecret(t *testing.T) []Secret {
	s, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	return []Secret{s}
}

// newTestSender returns a sender whose polls the test makes, with private addresses allowed.
func newTestSender(t *testing.T, o *outbox, endpoints ...Endpoint) *Sender {
	s := NewSender(o, "test", zap.NewNop())
	for i := range endpoints {
		endpoints[i].Secrets = testSecret(t)
	}
	cfg := Config{endpoints}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	s.Apply(cfg)
	s.group = background.NewGroup(t.Context())
	t.Cleanup(s.Stop)
	return s
}

// attempt makes one attempt at a delivery to an endpoint and returns its result.
func attempt(t *testing.T, e Endpoint, d batch.Delivery) batch.DeliveryResult {
	t.Helper()
	o := new(outbox)
	s := newTestSender(t, o, e)
	d.Endpoint, d.BatchID, d.Event = (*s.routes.Load())[0].id, "batch_1", batch.Completed
	o.due = []batch.Delivery{d}
	s.claimAll(t.Context())
	s.group.WaitIdle()
	if len(o.results["batch_1"]) != 1 {
		t.Fatalf("results are %v, want one", o.results)
	}
	return o.results["batch_1"][0]
}

func TestDelivered(t *testing.T) {
	var got atomic.Pointer[http.Request]
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		got.Store(r)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer receiver.Close()
	at := time.Unix(1700000000, 0)
	r := attempt(t, Endpoint{URL: receiver.URL + "/hook?token=x", AllowPrivate: true}, batch.Delivery{CreatedAt: at})
	if r.State != batch.DeliveryDelivered || r.HTTPStatus != http.StatusAccepted || r.Error != "" {
		t.Errorf("result is %+v, want delivered", r)
	}
	var ev map[string]any
	if err := json.Unmarshal(body, &ev); err != nil {
		t.Fatal(err)
	}
	h := got.Load().Header
	if ev["object"] != "event" || ev["type"] != "batch.completed" || ev["created_at"] != float64(at.Unix()) || ev["id"] != h.Get("Webhook-Id") || ev["data"].(map[string]any)["id"] != "batch_1" {
		t.Errorf("event is %s with headers %v", body, h)
	}
	if got.Load().URL.RawQuery != "token=x" || h.Get("Webhook-Signature") == "" || h.Get("Content-Type") != "application/json" {
		t.Errorf("request is %s with headers %v", got.Load().URL, h)
	}
}

// TestReceiverFails covers receivers that fail in different ways.
func TestReceiverFails(t *testing.T) {
	redirected := make(chan struct{}, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected <- struct{}{} }))
	defer elsewhere.Close()
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(code)
		}
	}
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, text)
			if tcp, ok := conn.(*net.TCPConn); ok && text == "" {
				_ = tcp.SetLinger(0) // a reset
			}
			_ = conn.Close()
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    batch.DeliveryState
		status  int
		retryIn time.Duration // at least
		text    string
	}{
		"500":                  {status(500), batch.DeliveryPending, 500, firstPause, "answered 500"},
		"404":                  {status(404), batch.DeliveryPending, 404, firstPause, "answered 404"},
		"429 with Retry-After": {status(429, "Retry-After", "120"), batch.DeliveryPending, 429, 2 * time.Minute, "answered 429"},
		"503 for a year":       {status(503, "Retry-After", "9999999"), batch.DeliveryPending, 503, firstPause, "answered 503"},
		"410":                  {status(410), batch.DeliveryFailed, 410, 0, "answered 410"},
		"301":                  {status(301, "Location", elsewhere.URL), batch.DeliveryPending, 301, firstPause, "redirect"},
		"307":                  {status(307, "Location", elsewhere.URL), batch.DeliveryPending, 307, firstPause, "redirect"},
		"reset":                {raw(""), batch.DeliveryPending, 0, firstPause, ""},
		"no HTTP":              {raw("SSH-2.0-OpenSSH_9.9\r\n"), batch.DeliveryPending, 0, firstPause, "malformed"},
		"half a header":        {raw("HTTP/1.1 200 OK\r\nContent-Le"), batch.DeliveryPending, 0, firstPause, "broken"},
		"huge header":          {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 4*maxHeader)), batch.DeliveryPending, 0, firstPause, "exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			receiver := httptest.NewServer(c.handler)
			defer receiver.Close()
			r := attempt(t, Endpoint{URL: receiver.URL + "/?token=hidden", AllowPrivate: true}, batch.Delivery{})
			if r.State != c.want || r.HTTPStatus != c.status || r.RetryIn < c.retryIn || !strings.Contains(r.Error, c.text) || strings.Contains(r.Error, "hidden") {
				t.Errorf("result is %+v, want %+v", r, c)
			}
		})
	}
	select {
	case <-redirected:
		t.Error("a redirect was followed")
	default:
	}
	t.Run("refused", func(t *testing.T) {
		receiver := httptest.NewServer(status(200))
		receiver.Close()
		if r := attempt(t, Endpoint{URL: receiver.URL, AllowPrivate: true}, batch.Delivery{}); r.State != batch.DeliveryPending || !strings.Contains(r.Error, "refused") {
			t.Errorf("result is %+v, want a retry after a refused connection", r)
		}
	})
	t.Run("unknown certificate", func(t *testing.T) {
		receiver := httptest.NewUnstartedServer(status(200))
		receiver.Config.ErrorLog = zap.NewStdLog(zap.NewNop())
		receiver.StartTLS()
		defer receiver.Close()
		if r := attempt(t, Endpoint{URL: receiver.URL, AllowPrivate: true}, batch.Delivery{}); r.State != batch.DeliveryPending || !strings.Contains(r.Error, "certificate") {
			t.Errorf("result is %+v, want a retry after a bad certificate", r)
		}
	})
	t.Run("endless body", func(t *testing.T) {
		ended := make(chan struct{})
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			w.WriteHeader(200)
			block := make([]byte, 1<<20)
			for {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}))
		defer receiver.Close()
		if r := attempt(t, Endpoint{URL: receiver.URL, AllowPrivate: true}, batch.Delivery{}); r.State != batch.DeliveryDelivered {
			t.Errorf("result is %+v, want delivered", r)
		}
		<-ended
	})
}

// TestHangingReceiver checks that receivers that hang hold up no other endpoint, and that
// attempts end with the sender and are not counted as failures of the receiver.
func TestHangingReceiver(t *testing.T) {
	const waiting = 10
	arrived, release := make(chan struct{}, waiting), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	}))
	defer hanging.Close()
	defer close(release)
	delivered := make(chan struct{}, 1)
	good := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { delivered <- struct{}{} }))
	defer good.Close()

	o := new(outbox)
	s := newTestSender(t, o, Endpoint{URL: hanging.URL, AllowPrivate: true}, Endpoint{URL: good.URL, AllowPrivate: true})
	routes := *s.routes.Load()
	for i := range waiting {
		o.due = append(o.due, batch.Delivery{BatchID: fmt.Sprint("batch_", i), Endpoint: routes[0].id})
	}
	o.due = append(o.due, batch.Delivery{BatchID: "batch_good", Endpoint: routes[1].id})
	s.claimAll(t.Context())
	<-delivered
	for range perRoute {
		<-arrived
	}
	s.claimAll(t.Context()) // no attempt is free
	if left := len(o.due); left != waiting-perRoute {
		t.Errorf("%d deliveries are unclaimed, want %d", left, waiting-perRoute)
	}
	s.group.Stop()
	s.group.WaitIdle()
	for id, results := range o.results {
		if r := results[0]; id != "batch_good" && (r.State != batch.DeliveryPending || r.RetryIn != 0) {
			t.Errorf("result of %s is %+v, want an immediate retry elsewhere", id, r)
		}
	}
}

// TestPrivateAddresses checks the addresses when the connection is made, whatever the URL
// says.
func TestPrivateAddresses(t *testing.T) {
	called := make(chan struct{}, 1)
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called <- struct{}{} }))
	defer receiver.Close()
	_, port, err := net.SplitHostPort(receiver.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0", "169.254.169.254", "[64:ff9b::7f00:1]"} {
		r := attempt(t, Endpoint{URL: "https://" + host + ":" + port}, batch.Delivery{})
		if r.State != batch.DeliveryPending || r.HTTPStatus != 0 || !strings.Contains(r.Error, "no public address") && !strings.Contains(r.Error, "lookup") {
			t.Errorf("result for %s is %+v, want a refused address", host, r)
		}
	}
	select {
	case <-called:
		t.Error("the receiver was called")
	default:
	}
}

// TestProxyIsNotUsed checks that a proxy of the environment, which would resolve names
// itself, is not used.
func TestProxyIsNotUsed(t *testing.T) {
	for _, c := range []*http.Client{newClient(false), newClient(true)} {
		if c.Transport.(*http.Transport).Proxy != nil {
			t.Error("the client uses a proxy")
		}
	}
}

func TestPauses(t *testing.T) {
	for _, c := range []struct {
		attempts    int
		age         time.Duration
		retryAfter  time.Duration
		least, most time.Duration
	}{
		{1, 0, 0, 5 * time.Second, 6 * time.Second},
		{2, time.Minute, 0, 15 * time.Second, 18 * time.Second},
		{5, time.Minute, 0, 405 * time.Second, 486 * time.Second},
		{500, time.Hour, 0, time.Hour, 72 * time.Minute},
		{1, 0, 10 * time.Minute, 10 * time.Minute, 12 * time.Minute},
		{1, 0, 100 * time.Hour, time.Hour, 72 * time.Minute},
		{40, 24*time.Hour - time.Minute, 0, time.Minute, time.Minute}, // the last attempt
	} {
		pause, again := pauseAfter(batch.Delivery{Attempts: c.attempts, Age: c.age}, answer{retryAfter: c.retryAfter})
		if !again || pause < c.least || pause > c.most {
			t.Errorf("%+v: got %s, %v", c, pause, again)
		}
	}
	if _, again := pauseAfter(batch.Delivery{Age: 24 * time.Hour}, answer{}); again {
		t.Error("after 24 h: got a retry, want none")
	}
}

// TestSameID checks that attempts and endpoints share the id of an event, and that events of
// different batches and states do not.
func TestSameID(t *testing.T) {
	a := batch.Delivery{BatchID: "batch_1", Event: batch.Completed, Attempts: 1, Endpoint: "a"}
	b := a
	b.Attempts, b.Endpoint = 7, "b"
	if eventOf(a) != eventOf(b) {
		t.Errorf("events are %v and %v, want the same", eventOf(a), eventOf(b))
	}
	b.BatchID = "batch_2"
	c := a
	c.Event = batch.Cancelled
	if eventOf(a).ID == eventOf(b).ID || eventOf(a).ID == eventOf(c).ID {
		t.Error("ids of different events are equal")
	}
}

func TestMetadata(t *testing.T) {
	o := new(outbox)
	s := newTestSender(t, o)
	named := map[string]string{batch.WebhookKey: "https://hooks.example.com/x"}
	if err := s.Check("a", map[string]string{"other": "x"}); err != nil {
		t.Errorf("other metadata: got %v, want no error", err)
	}
	if err, ok := errors.AsType[*batch.MetadataError](s.Check("a", named)); !ok || err.Key != batch.WebhookKey {
		t.Error("without a webhook for metadata: got no error, want one")
	}
	s.Apply(Config{[]Endpoint{{Hosts: []string{"hooks.example.com"}, Secrets: testSecret(t), Tenants: []string{"a"}}}})
	if err := s.Check("a", named); err != nil {
		t.Errorf("allowed address: got %v, want no error", err)
	}
	if s.Check("b", named) == nil {
		t.Error("another tenant: got no error, want one")
	}
	if s.Check("a", map[string]string{batch.WebhookKey: ""}) == nil || s.Check("a", map[string]string{batch.WebhookKey: "https://evil.example.com"}) == nil {
		t.Error("an address that is not allowed: got no error, want one")
	}
	// The address is checked again when the event is sent.
	r := (*s.routes.Load())[0]
	o.due = []batch.Delivery{{BatchID: "batch_1", Event: batch.Failed, Endpoint: r.id, URL: "https://evil.example.com/"}}
	s.claimAll(t.Context())
	s.group.WaitIdle()
	if got := o.results["batch_1"]; len(got) != 1 || got[0].State != batch.DeliveryPending || !strings.Contains(got[0].Error, "not allowed") {
		t.Errorf("results are %+v, want a retry because the address is not allowed", got)
	}
}

func TestTargets(t *testing.T) {
	o := new(outbox)
	failed := []batch.Status{batch.Failed}
	s := newTestSender(t, o, Endpoint{URL: "https://a.example.com", Tenants: []string{"x"}, Events: failed}, Endpoint{URL: "https://c.example.com", Tenants: []string{"*"}, Events: failed}, Endpoint{Hosts: []string{"b.example.com"}})
	s.setTargets(t.Context())
	var got []string
	for _, target := range o.targets {
		got = append(got, fmt.Sprint(target.Tenant, " ", target.Event, " ", target.Metadata))
	}
	if len(got) != 6 || got[0] != "x failed false" || got[1] != "* failed false" || !strings.HasPrefix(got[2], "default ") || !strings.HasSuffix(got[2], " true") {
		t.Errorf("targets are %q", got)
	}
}

// TestTargetsAreSetAgain checks that targets that the store did not take are set within
// seconds, not with the next regular write: batches that end until then are not reported.
func TestTargetsAreSetAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{refused: 2}
		s := NewSender(o, "gw", zap.NewNop())
		s.Apply(Config{Endpoints: []Endpoint{{URL: "https://a.example.com", Secrets: testSecret(t)}}})
		<-s.bell // Start writes the targets
		s.Start(t.Context())
		defer s.Stop()
		time.Sleep(2*pollInterval + pollInterval/2)
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.targets) == 0 {
			t.Error("no targets are set after two failures and two polls")
		}
	})
}

func TestValidate(t *testing.T) {
	secrets := testSecret(t)
	for text, c := range map[string]Config{
		"needs a secret":        {[]Endpoint{{URL: "https://a"}}},
		"begin with https":      {[]Endpoint{{URL: "http://a", Secrets: secrets}}},
		"a user or a password":  {[]Endpoint{{URL: "https://u:p@a", Secrets: secrets}}},
		"fragment":              {[]Endpoint{{URL: "https://a#b", Secrets: secrets}}},
		"need hosts":            {[]Endpoint{{Secrets: secrets}}},
		"hosts are for":         {[]Endpoint{{URL: "https://a", Hosts: []string{"b"}, Secrets: secrets}}},
		"tenant x and for all":  {[]Endpoint{{URL: "https://a", Secrets: secrets, Tenants: []string{"*"}}, {URL: "https://a", Secrets: secrets, Tenants: []string{"x"}}}},
		"tenant y and for all":  {[]Endpoint{{Hosts: []string{"a"}, Secrets: secrets, Tenants: []string{"x", "y"}}, {Hosts: []string{"b"}, Secrets: secrets, Tenants: []string{"*"}}}},
		"already specified for": {[]Endpoint{{URL: "https://a", Secrets: secrets}, {URL: "https://a", Secrets: secrets, Tenants: []string{"x", "default"}}}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("error is %v, want one with %q", err, text)
		}
	}
}

// TestLogHasNoQuery checks that logs contain neither the secret nor the query of an address.
func TestLogHasNoQuery(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	o := new(outbox)
	s := newTestSender(t, o, Endpoint{URL: "http://127.0.0.1:1/hook?token=hidden", AllowPrivate: true})
	s.log = zap.New(core)
	o.due = []batch.Delivery{{BatchID: "batch_1", Event: batch.Failed, Endpoint: (*s.routes.Load())[0].id}}
	s.claimAll(t.Context())
	s.group.WaitIdle()
	text := fmt.Sprint(logs.All())
	if logs.Len() == 0 || strings.Contains(text, "hidden") || !strings.Contains(text, "http://127.0.0.1:1/hook") {
		t.Errorf("log is %s, want the address without its query", text)
	}
}

func TestTestEvent(t *testing.T) {
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { body, _ = io.ReadAll(r.Body) }))
	defer receiver.Close()
	s := newTestSender(t, new(outbox), Endpoint{URL: receiver.URL + "/a?k=v", AllowPrivate: true}, Endpoint{Hosts: []string{"x"}})
	for _, address := range []string{"", receiver.URL + "/a", receiver.URL + "/a?k=v"} {
		results, err := s.Test(t.Context(), address)
		if err != nil || len(results) != 1 || results[0].Err != nil || results[0].HTTPStatus != 200 || results[0].Name != receiver.URL+"/a" {
			t.Errorf("results for %q are %+v, %v, want one delivered", address, results, err)
		}
		if !strings.Contains(string(body), `"type":"webhook.test"`) {
			t.Errorf("event is %s, want webhook.test", body)
		}
	}
	if _, err := s.Test(t.Context(), "https://other"); !errors.Is(err, ErrNoEndpoint) {
		t.Errorf("unknown address: got %v, want ErrNoEndpoint", err)
	}
}

// Receivers of one tenant that hang hold up no delivery of another, although all tenants share
// the endpoint of metadata.
func TestTenantsDoNotHoldUpOthers(t *testing.T) {
	release := make(chan struct{})
	var hanging atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hangs" {
			hanging.Add(1)
			<-release
		}
	}))
	defer receiver.Close()
	host := strings.TrimPrefix(receiver.URL, "http://")
	o := new(outbox)
	s := newTestSender(t, o, Endpoint{Hosts: []string{host}, AllowPrivate: true})
	id := (*s.routes.Load())[0].id
	add := func(tenant, path string, n int) {
		for i := range n {
			o.due = append(o.due, batch.Delivery{Endpoint: id, Tenant: tenant, BatchID: fmt.Sprint(tenant, i), Event: batch.Completed, URL: receiver.URL + path})
		}
	}
	add("slow", "/hangs", 500)
	add("fast", "/", 10)
	for range 10 { // more than perRoute at once
		s.claimAll(t.Context())
		deadline := time.Now().Add(time.Minute)
		for s.runningOf(id, "fast") > 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
	o.mu.Lock()
	delivered := len(o.results)
	o.mu.Unlock()
	if running := s.runningOf(id, "slow"); delivered != 10 || running != perRoute {
		t.Errorf("got %d deliveries and %d attempts of the tenant that hangs, want 10 and %d", delivered, running, perRoute)
	}
	o.mu.Lock()
	o.due = nil
	o.mu.Unlock()
	close(release)
	s.group.WaitIdle()
	if got := hanging.Load(); got != perRoute {
		t.Errorf("got %d requests that hung, want %d", got, perRoute)
	}
	if len(s.running) != 0 || s.total != 0 {
		t.Errorf("got %v, %d running at the end, want none", s.running, s.total)
	}
}

func (s *Sender) runningOf(id, tenant string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id][tenant]
}

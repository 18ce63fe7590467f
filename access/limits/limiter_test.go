package limits

import (
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/access"
)

var teamKey = Client{Key: "key_a", Tenant: "team"}

// newLimiter returns a limiter with limits of the key and of the tenant of teamKey.
func newLimiter(key, tenant access.Limits) *Limiter {
	l := New(nil)
	l.Apply(Config{
		Tenants: map[string]access.Limits{teamKey.Tenant: tenant},
		Keys: func(id string) access.Limits {
			if id == teamKey.Key {
				return key
			}
			return access.Limits{}
		},
	})
	return l
}

// admitAll admits requests until one is refused and returns how many were admitted.
func admitAll(t *testing.T, l *Limiter, c Client, tokens int64) (n int, last *ReachedError) {
	t.Helper()
	for ; n < 10_000; n++ {
		g, r := l.Admit(c, Spend{Tokens: tokens})
		if r != nil {
			return n, r
		}
		g.End(Outcome{Sent: true})
	}
	return n, nil
}

func TestRates(t *testing.T) {
	for _, tt := range []struct {
		name        string
		key, tenant access.Limits
		tokens      int64
		gateways    int
		want        int
		kind        Kind
		wait        time.Duration
	}{
		{name: "requests of a key", key: access.Limits{RequestsPerMinute: 60}, want: 60, kind: RequestsPerMinute, wait: time.Second},
		{name: "requests of a tenant", tenant: access.Limits{RequestsPerMinute: 6}, want: 6, kind: RequestsPerMinute, wait: 10 * time.Second},
		{name: "the smaller one counts", key: access.Limits{RequestsPerMinute: 60}, tenant: access.Limits{RequestsPerMinute: 30}, want: 30, kind: RequestsPerMinute, wait: 2 * time.Second},
		{name: "tokens", key: access.Limits{TokensPerMinute: 600}, tokens: 100, want: 6, kind: TokensPerMinute, wait: 100 * time.Millisecond},
		{name: "tokens that do not divide the limit", key: access.Limits{TokensPerMinute: 600}, tokens: 250, want: 3, kind: TokensPerMinute, wait: 15100 * time.Millisecond},
		{name: "a request larger than the limit", key: access.Limits{TokensPerMinute: 600}, tokens: 1200, want: 1, kind: TokensPerMinute, wait: time.Minute + 100*time.Millisecond},
		{name: "part of a gateway", key: access.Limits{RequestsPerMinute: 60}, gateways: 3, want: 20, kind: RequestsPerMinute, wait: 3 * time.Second},
		{name: "part below one", key: access.Limits{RequestsPerMinute: 1}, gateways: 3, want: 1, kind: RequestsPerMinute, wait: 3 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(tt.key, tt.tenant)
				l.SetGateways(tt.gateways)
				n, r := admitAll(t, l, teamKey, tt.tokens)
				if n != tt.want || r == nil || r.Kind != tt.kind || r.Wait != tt.wait {
					t.Fatalf("got %d admitted and %+v, want %d and %s after %s", n, r, tt.want, tt.kind, tt.wait)
				}
				if reached := l.Reached(teamKey); !strings.Contains(reached, tt.kind.String()) {
					t.Errorf("reached: got %q, want %s", reached, tt.kind)
				}
				time.Sleep(tt.wait)
				if reached := l.Reached(teamKey); tt.tokens <= 1 && reached != "" {
					t.Errorf("reached after the wait: got %q, want none", reached)
				}
				if _, r := l.Admit(teamKey, Spend{Tokens: tt.tokens}); r != nil {
					t.Errorf("after the wait: got %v, want none", r)
				}
			})
		})
	}
}

func TestOthersAreNotLimited(t *testing.T) {
	l := newLimiter(access.Limits{RequestsPerMinute: 1}, access.Limits{})
	for _, c := range []Client{{Key: "key_b", Tenant: "team"}, {Tenant: "other"}} {
		if n, r := admitAll(t, l, c, 1); r != nil {
			t.Errorf("%v: got %d admitted and %v, want no limit", c, n, r)
		}
		if g, _ := l.Admit(c, Spend{Tokens: 1}); g != nil {
			t.Errorf("%v: got a grant, want none", c)
		}
	}
	var none *Limiter
	if none.Limited(teamKey) {
		t.Error("got a limit of no limiter, want none")
	}
}

func TestInFlight(t *testing.T) {
	l := newLimiter(access.Limits{RequestsInFlight: 2}, access.Limits{})
	first, _ := l.Admit(teamKey, Spend{})
	if _, r := l.Admit(teamKey, Spend{}); r != nil {
		t.Fatalf("second: got %v, want none", r)
	}
	_, r := l.Admit(teamKey, Spend{})
	if r == nil || r.Kind != RequestsInFlight || r.Wait <= 0 {
		t.Fatalf("third: got %v, want a refusal", r)
	}
	first.End(Outcome{Sent: true})
	first.End(Outcome{Sent: true}) // counts once
	if _, r := l.Admit(teamKey, Spend{}); r != nil {
		t.Errorf("after an end: got %v, want none", r)
	}
	if _, r := l.Admit(teamKey, Spend{}); r == nil {
		t.Error("fourth: got none, want a refusal")
	}
}

func TestEnd(t *testing.T) {
	for _, tt := range []struct {
		name             string
		outcome          Outcome
		requests, tokens int64 // left of 10 and 1000
	}{
		{"used less", Outcome{Sent: true, Known: true, Tokens: 40}, 9, 960},
		{"used more", Outcome{Sent: true, Known: true, Tokens: 400}, 9, 600},
		{"not known", Outcome{Sent: true}, 9, 900},
		{"failed", Outcome{Sent: true, Failed: true}, 9, 1000},
		{"not sent", Outcome{Failed: true}, 10, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(access.Limits{RequestsPerMinute: 10, TokensPerMinute: 1000}, access.Limits{})
				g, r := l.Admit(teamKey, Spend{Tokens: 100})
				if r != nil {
					t.Fatal(r.Error())
				}
				g.End(tt.outcome)
				got := l.Usage()[0].Remaining
				if got["requests_per_minute"] != tt.requests || got["tokens_per_minute"] != tt.tokens {
					t.Errorf("got %v, want %d requests and %d tokens", got, tt.requests, tt.tokens)
				}
			})
		})
	}
}

// A refused request takes nothing from the other limits.
func TestRefusedTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{RequestsPerMinute: 100}, access.Limits{TokensPerMinute: 10})
		if n, _ := admitAll(t, l, teamKey, 10); n != 1 {
			t.Fatalf("got %d, want 1", n)
		}
		for range 50 {
			if _, r := l.Admit(teamKey, Spend{Tokens: 10}); r == nil {
				t.Fatal("got no refusal")
			}
		}
		if left := l.Usage()[0].Remaining["requests_per_minute"]; left != 99 {
			t.Errorf("got %d requests left, want 99", left)
		}
	})
}

func TestHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{RequestsPerMinute: 60, TokensPerMinute: 6000}, access.Limits{RequestsPerMinute: 600})
		g, _ := l.Admit(teamKey, Spend{Tokens: 150})
		got := make(http.Header)
		g.Header(got)
		for name, want := range map[string]string{
			"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s",
			"x-ratelimit-limit-tokens": "6000", "x-ratelimit-remaining-tokens": "5850", "x-ratelimit-reset-tokens": "1.5s",
		} {
			if got.Get(name) != want {
				t.Errorf("%s: got %q, want %q", name, got.Get(name), want)
			}
		}
	})
}

func TestBatchesPerHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{}, access.Limits{BatchesPerHour: 2})
		undo, _ := l.TakeBatch(teamKey)
		undo()
		for range 2 {
			if _, r := l.TakeBatch(teamKey); r != nil {
				t.Fatal(r.Error())
			}
		}
		_, r := l.TakeBatch(teamKey)
		if r == nil || r.Wait != 30*time.Minute {
			t.Fatalf("got %+v, want a wait of 30m", r)
		}
		time.Sleep(r.Wait)
		if _, r := l.TakeBatch(teamKey); r != nil {
			t.Errorf("after the wait: got %v, want none", r)
		}
	})
}

// Concurrent clients get exactly the limit.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{RequestsPerMinute: 300}, access.Limits{RequestsPerMinute: 100})
		var admitted atomic.Int64
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				for range 20 {
					if g, r := l.Admit(teamKey, Spend{Tokens: 1}); r == nil {
						admitted.Add(1)
						g.End(Outcome{Sent: true})
					}
				}
			})
		}
		clients.Wait()
		if n := admitted.Load(); n != 100 {
			t.Errorf("got %d, want 100", n)
		}
	})
}

// admission is a request that was admitted.
type admission struct {
	at     time.Time
	tokens int64
}

// A request for more tokens than the limit has its turn among 50 clients with small ones, and
// they have theirs; together they exceed the limit by no more than docs/limits.md says, and
// get all of it. It finds a large request that waits for a full bucket, which small ones never
// leave, and requests that are admitted while the bucket is in debt.
func TestLargeAmongSmall(t *testing.T) {
	const (
		limit = 60_000
		small = 100
		large = 2 * limit
		hour  = time.Hour
	)
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{TokensPerMinute: limit}, access.Limits{})
		begin := time.Now()
		var mu sync.Mutex
		var admitted []admission
		var clients sync.WaitGroup
		for i := range 51 {
			tokens := int64(small)
			if i == 50 {
				tokens = large
			}
			jitter := rand.New(rand.NewPCG(uint64(i), 0))
			clients.Go(func() {
				for time.Since(begin) < hour {
					g, r := l.Admit(teamKey, Spend{Tokens: tokens})
					if r != nil { // as OpenAI's libraries do, which retry at about that time
						time.Sleep(r.Wait + time.Duration(jitter.Int64N(int64(time.Second))))
						continue
					}
					mu.Lock()
					admitted = append(admitted, admission{time.Now(), tokens})
					mu.Unlock()
					g.End(Outcome{Sent: true})
				}
			})
		}
		clients.Wait()
		var turns, rest, total int64
		for i, a := range admitted {
			total += a.tokens
			if a.tokens == large {
				turns++
			} else {
				rest++
			}
			window := int64(0)
			for _, b := range admitted[i:] {
				if t := b.at.Sub(a.at); t <= time.Minute {
					window += b.tokens
				}
			}
			if most := int64(2*limit + large); window > most {
				t.Fatalf("%d tokens were admitted within a minute, want at most %d", window, most)
			}
		}
		if turns < 5 || rest < 1000 {
			t.Errorf("got %d large requests and %d small ones in an hour, want at least 5 and 1000", turns, rest)
		}
		minutes := int64(hour / time.Minute)
		if least, most := limit*(minutes-1), limit*(minutes+1)+large; total < least || total > most {
			t.Errorf("got %d tokens in %s, want from %d to %d", total, hour, least, most)
		}
	})
}

// A restart continues with the levels that were saved.
func TestState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "data", "limits.json")
		limits := access.Limits{RequestsPerMinute: 60, BatchesPerHour: 1}
		l := newLimiter(limits, limits)
		if err := l.Load(path); err != nil {
			t.Fatal(err)
		}
		if n, _ := admitAll(t, l, teamKey, 1); n != 60 {
			t.Fatalf("got %d, want 60", n)
		}
		if _, r := l.TakeBatch(teamKey); r != nil {
			t.Fatal(r.Error())
		}
		if err := l.Save(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		again := newLimiter(limits, limits)
		if err := again.Load(path); err != nil {
			t.Fatal(err)
		}
		if n, _ := admitAll(t, again, teamKey, 1); n != 10 {
			t.Errorf("after a restart: got %d, want 10", n)
		}
		if _, r := again.TakeBatch(teamKey); r == nil {
			t.Error("batch after a restart: got none, want a refusal")
		}
	})
}

// A batch that was not created is refunded in the file, too.
func TestUndoIsStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limits.json")
	limits := access.Limits{BatchesPerHour: 1}
	l := newLimiter(limits, access.Limits{})
	undo, _ := l.TakeBatch(teamKey)
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	undo()
	if err := l.Save(path); err != nil {
		t.Fatal(err)
	}
	again := newLimiter(limits, access.Limits{})
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	if _, r := again.TakeBatch(teamKey); r != nil {
		t.Errorf("got %q, want a batch", r.Error())
	}
}

// A report of the use does not renew what was used before a restart, also while the limits
// are not known yet.
func TestUsageAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "limits.json")
		limits := access.Limits{RequestsPerMinute: 60, BatchesPerHour: 1}
		l := newLimiter(limits, access.Limits{})
		_, _ = admitAll(t, l, teamKey, 1)
		if _, r := l.TakeBatch(teamKey); r != nil {
			t.Fatal(r.Error())
		}
		if err := l.Save(path); err != nil {
			t.Fatal(err)
		}
		again := New(nil)
		if err := again.Load(path); err != nil {
			t.Fatal(err)
		}
		if got := again.Usage(); len(got) != 0 {
			t.Errorf("without limits: got %+v, want none", got)
		}
		again.Apply(*l.config.Load())
		got := again.Usage()
		if len(got) != 1 || got[0].Key != teamKey.Key || got[0].Limits != limits || got[0].Remaining["requests_per_minute"] != 0 || got[0].Remaining["batches_per_hour"] != 0 {
			t.Errorf("got %+v, want the key with nothing left", got)
		}
		if n, _ := admitAll(t, again, teamKey, 1); n != 0 {
			t.Errorf("got %d requests, want none", n)
		}
		if _, r := again.TakeBatch(teamKey); r == nil {
			t.Error("got a batch, want a refusal")
		}
	})
}

// An account is not forgotten while a request larger than the limit of hours is not refilled.
func TestForgetNothingBelowItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{TokensPerMinute: 10}, access.Limits{})
		g, _ := l.Admit(teamKey, Spend{Tokens: 10 * 60 * 5}) // of five hours
		g.End(Outcome{Sent: true})
		path := filepath.Join(t.TempDir(), "limits.json")
		for _, want := range []int{1, 1, 0} {
			time.Sleep(idleTime + time.Second)
			l.changed = true
			if err := l.Save(path); err != nil {
				t.Fatal(err)
			}
			if got := len(l.accounts); got != want {
				t.Errorf("got %d accounts, want %d", got, want)
			}
		}
	})
}

// Accounts that are not used are forgotten, those with requests in flight are not.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(access.Limits{RequestsPerMinute: 60}, access.Limits{RequestsInFlight: 5})
		g, _ := l.Admit(teamKey, Spend{Tokens: 1})
		path := filepath.Join(t.TempDir(), "limits.json")
		for _, want := range []int{2, 0} {
			time.Sleep(idleTime + time.Second)
			l.changed = true
			if err := l.Save(path); err != nil {
				t.Fatal(err)
			}
			if got := len(l.accounts); got != want {
				t.Errorf("got %d accounts, want %d", got, want)
			}
			g.End(Outcome{Sent: true})
		}
	})
}

func TestQueueLimits(t *testing.T) {
	l := newLimiter(access.Limits{LinesQueued: 10}, access.Limits{TokensQueued: 20})
	got := l.Queue(teamKey)
	want := []QueueLimit{{"team", "key_a", 10, 0}, {"team", "", 0, 20}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What was used of a limit counts when the limit is changed: a smaller one refuses requests
// until it fits, a larger one admits the difference at once, and a change forth and back
// renews nothing. It finds a bucket that keeps its level, which counts too little of a
// smaller limit.
func TestChangedRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := access.Limits{RequestsPerMinute: 60}
		l := New(nil)
		l.Apply(Config{Keys: func(string) access.Limits { return limits }})
		change := func(perMinute int64, want int, wait time.Duration) {
			t.Helper()
			limits.RequestsPerMinute = perMinute
			n, r := admitAll(t, l, teamKey, 1)
			if n != want || r == nil || r.Wait.Round(10*time.Millisecond) != wait {
				t.Fatalf("%d per minute: got %d admitted and %+v, want %d, and then a wait of %s", perMinute, n, r, want, wait)
			}
		}
		running, _ := l.Admit(teamKey, Spend{})
		change(60, 59, time.Second)
		change(30, 0, 62*time.Second) // 30 too many
		time.Sleep(62 * time.Second)
		change(30, 1, 2*time.Second)
		change(90, 60, 670*time.Millisecond)
		change(30, 0, 2*time.Minute+2*time.Second)
		path := filepath.Join(t.TempDir(), "limits.json")
		if err := l.Save(path); err != nil {
			t.Fatal(err)
		}
		l = New(nil)
		l.Apply(Config{Keys: func(string) access.Limits { return limits }})
		if err := l.Load(path); err != nil {
			t.Fatal(err)
		}
		change(91, 1, 660*time.Millisecond) // changed while the gateway was stopped
		running.End(Outcome{Sent: true})
	})
}

// A limit of requests in flight below those that are in flight ends none of them, and admits
// the next one when fewer are left.
func TestChangedInFlight(t *testing.T) {
	limits := access.Limits{RequestsInFlight: 3}
	l := New(nil)
	l.Apply(Config{Keys: func(string) access.Limits { return limits }})
	var running []*Grant
	for range 3 {
		g, r := l.Admit(teamKey, Spend{})
		if r != nil {
			t.Fatal(r.Error())
		}
		running = append(running, g)
	}
	limits.RequestsInFlight = 1
	for i, g := range running {
		if _, r := l.Admit(teamKey, Spend{}); r == nil || r.Kind != RequestsInFlight || r.Limit != 1 {
			t.Errorf("with %d in flight: got %v, want a refusal", len(running)-i, r)
		}
		g.End(Outcome{Sent: true})
	}
	if _, r := l.Admit(teamKey, Spend{}); r != nil {
		t.Errorf("with none in flight: got %v, want none", r)
	}
}

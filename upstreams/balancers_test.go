package upstreams

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// candidates returns servers with so many live requests in flight.
func candidatesWith(live ...int) []*Candidate {
	var all []*Candidate
	for i, n := range live {
		c := &Candidate{URL: fmt.Sprintf("http://gpu%d:8000", i), Weight: 1, upstream: &upstream{}}
		for range n {
			c.begin()
		}
		all = append(all, c)
	}
	return all
}

func TestRoundRobin(t *testing.T) {
	var b RoundRobin
	all := candidatesWith(5, 0, 0)
	for i := range 9 {
		if got := b.Choose(all, &Query{Class: Live}); got != all[i%3] {
			t.Fatalf("request %d: got %s, want %s", i, got.URL, all[i%3].URL)
		}
	}
	if got := b.Choose(all, &Query{Class: Batch}); got == all[0] {
		t.Error("a batch line went to the loaded server")
	}
}

// TestSameServer checks the balancers that keep requests of a kind on one server: all
// servers are used, other servers keep their requests when one goes, and a server
// with more than its part is left out.
func TestSameServer(t *testing.T) {
	prompt := func(i int) *Query {
		body := fmt.Sprintf(`{"model":"m","messages":[{"role":"user","content":"%s"}]}`, strings.Repeat(fmt.Sprint("text ", i, " "), 200))
		return &Query{Class: Live, Chain: chainOf("m", []byte(body))}
	}
	session := func(i int) *Query {
		return &Query{Class: Live, Header: http.Header{"X-Session-Id": {fmt.Sprint("session ", i)}}}
	}
	user := func(i int) *Query {
		return &Query{Class: Live, Prompt: fmt.Appendf(nil, `{"model":"m","user":"user %d"}`, i)}
	}
	for name, c := range map[string]struct {
		balancer Balancer
		query    func(i int) *Query
	}{
		"prefix":        {PrefixHash{}, prompt},
		"session":       {Session{Header: "X-Session-Id"}, session},
		"session field": {Session{Field: "user"}, user},
	} {
		t.Run(name, func(t *testing.T) {
			const kinds = 400
			all := candidatesWith(0, 0, 0, 0)
			home := make([]*Candidate, kinds)
			counts := make(map[*Candidate]int)
			for i := range kinds {
				home[i] = c.balancer.Choose(all, c.query(i))
				counts[home[i]]++
				if again := c.balancer.Choose(all, c.query(i)); again != home[i] {
					t.Fatalf("%d: got %s and then %s", i, home[i].URL, again.URL)
				}
			}
			for _, server := range all {
				if n := counts[server]; n < kinds/4/2 || n > kinds/4*2 {
					t.Errorf("%s got %d of %d, want about a quarter", server.URL, n, kinds)
				}
			}
			for i := range kinds {
				if got := c.balancer.Choose(all[:3], c.query(i)); home[i] != all[3] && got != home[i] {
					t.Fatalf("%d moved from %s to %s when another server went", i, home[i].URL, got.URL)
				}
			}
			for range 20 {
				all[0].begin()
			}
			for i := range kinds {
				if got := c.balancer.Choose(all, c.query(i)); got == all[0] || home[i] != all[0] && got != home[i] {
					t.Fatalf("%d: got %s beside an overloaded server, at home on %s", i, got.URL, home[i].URL)
				}
			}
		})
	}
}

// TestNothingToKeep checks that requests that name nothing go to the least loaded
// server.
func TestNothingToKeep(t *testing.T) {
	all := candidatesWith(3, 0, 3)
	for name, b := range map[string]Balancer{"prefix": PrefixHash{}, "header": Session{Header: "X"}, "field": Session{Field: "user"}, "load": LeastLoad{}} {
		for _, q := range []*Query{{Class: Live}, {Class: Live, Header: http.Header{}, Prompt: []byte(`{"user":3}`)}, {Class: Batch}} {
			if got := b.Choose(all, q); got != all[1] {
				t.Errorf("%s: got %s, want %s", name, got.URL, all[1].URL)
			}
		}
	}
}

// TestWeights checks that a server with twice the weight gets twice the sessions.
func TestWeights(t *testing.T) {
	all := candidatesWith(0, 0)
	all[1].Weight = 2
	// Of equal load relative to the weight.
	all[1].begin()
	n := 0
	for i := range 3000 {
		if (Session{Header: "X"}).Choose(all, &Query{Class: Live, Header: http.Header{"X": {fmt.Sprint(i)}}}) == all[1] {
			n++
		}
	}
	if n < 1900 || n > 2100 {
		t.Errorf("got %d of 3000 sessions on the server with twice the weight, want about 2000", n)
	}
}

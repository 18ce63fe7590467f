package several

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// cluster is the front of the compose files before gateways, each on an address of
// its own as containers are.
type cluster struct {
	front    *tidegatetest.Gateway
	dns      *tidegatetest.DNS
	settings tidegatetest.Settings
	port     string
	started  int // gateways so far

	members map[*tidegatetest.Gateway]netip.Addr
}

func newCluster(t *testing.T, settings tidegatetest.Settings) *cluster {
	t.Helper()
	_, port, err := net.SplitHostPort(tidegatetest.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{dns: tidegatetest.StartDNS(t), settings: settings, port: port, members: map[*tidegatetest.Gateway]netip.Addr{}}
	text, err := os.ReadFile(filepath.Join(tidegatetest.Root(t), "deploy/front.Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	listen := tidegatetest.FreeAddr(t)
	file := string(text)
	for before, here := range map[string]string{
		"\n:8080 {":                "\nhttp://" + listen + " {",
		"dynamic a gateway 8080 {": "dynamic a gateway " + port + " {\nresolvers " + c.dns.Addr,
	} {
		if strings.Count(file, before) != 1 {
			t.Fatalf("the front's Caddyfile has %q %d times", before, strings.Count(file, before))
		}
		file = strings.Replace(file, before, here, 1)
	}
	path := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	c.front = tidegatetest.Start(t, "http://"+listen, "http://"+listen+"/front/health", nil, tidegatetest.Binary(t), "run", "--adapter", "caddyfile", "--config", path)
	return c
}

// add starts a container's gateway. Docker names it as soon as it runs, and not
// only when it listens.
func (c *cluster) add(t *testing.T) *tidegatetest.Gateway {
	t.Helper()
	c.started++
	addr := netip.AddrFrom4([4]byte{127, 0, 1, byte(c.started)})
	settings := c.settings
	settings.Listen = net.JoinHostPort(addr.String(), c.port)
	c.name(addr)
	g := tidegatetest.Run(t, settings)
	c.members[g] = addr
	c.name()
	return g
}

// remove stops a container's gateway, which Docker names until it has ended.
func (c *cluster) remove(t *testing.T, g *tidegatetest.Gateway) {
	t.Helper()
	g.Stop(t)
	delete(c.members, g)
	c.name()
}

// name registers the members with the DNS, and one that is about to start.
func (c *cluster) name(starting ...netip.Addr) {
	c.dns.Set(slices.AppendSeq(starting, maps.Values(c.members))...)
}

// poll asks for a path again and again, as a client that waits for a batch does,
// until stop is called, which returns how often.
func (c *cluster) poll(t *testing.T, path string) (stop func() int) {
	var polling sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	n := 0
	polling.Go(func() {
		for ctx.Err() == nil {
			status, answer, err := c.front.Call(t.Context(), http.MethodGet, path, "", nil)
			if err != nil || status != http.StatusOK {
				t.Errorf("GET %s: %d %s %v", path, status, answer, err)
				return
			}
			n++
		}
	})
	stop = func() int {
		end()
		polling.Wait()
		return n
	}
	t.Cleanup(func() { stop() })
	return stop
}

// Gateways are replaced one after the other, and then all at once, behind the one
// port: no live request and no call of the API fails, and no line runs twice.
func TestRollingUpdate(t *testing.T) {
	t.Parallel()
	for name, together := range map[string]bool{"one after the other": false, "all at once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShared(t)
			sims := tidegatetest.StartSims(t, 2, "--ttft", "60ms", "--itl", "5ms")
			c := newCluster(t, s.settings(sims, inFlight))
			old := []*tidegatetest.Gateway{c.add(t), c.add(t)}
			input := ask(t, "rolled over", lines)
			id := c.front.Submit(t, input).ID
			c.front.WaitCompleted(t, id, 50, time.Minute)
			load := c.front.StartLoad(t, 60, func(i int) ([]byte, bool) {
				return tidegatetest.ChatBody(t, fmt.Sprint("live ", i), i%2 == 0), i%2 == 0
			})
			polls := c.poll(t, "/v1/batches/"+id)
			load.WaitEnded(t, 40)
			if together {
				var stopping sync.WaitGroup
				for _, g := range old {
					stopping.Go(func() { g.Stop(t) })
				}
				stopping.Wait()
				clear(c.members)
				c.name()
				c.add(t)
				c.add(t)
			} else {
				for _, g := range old {
					c.add(t)
					c.remove(t, g)
				}
			}
			load.WaitEnded(t, 80)
			if n := polls(); n == 0 {
				t.Error("the batch was not polled")
			}
			sent := load.Stop()
			var slowest time.Duration
			for _, l := range sent {
				if err := l.Check(); err != nil {
					t.Error(err)
				}
				slowest = max(slowest, l.Took)
			}
			wantCompleted(t, c.front, id, input, lines)
			distinct, again := repeated(t, sims)
			if distinct != int64(lines+len(sent)) || again != 0 {
				t.Errorf("%d different requests, want %d; %d calls repeated", distinct, lines+len(sent), again)
			}
			t.Logf("%d live requests, the slowest took %s; %d calls repeated", len(sent), slowest, again)
		})
	}
}

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// openPage opens the event stream of the overview and waits for its first update. ended
// receives the error of the stream's end.
func openPage(t *testing.T, g *tidegatetest.Gateway) (ended <-chan error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.URL+"/dashboard/events/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("the events: %s, %v", answer.Status, answer.Header)
	}
	from := bufio.NewReader(answer.Body)
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "event: now") {
			break
		}
	}
	end := make(chan error, 1)
	go func() {
		defer answer.Body.Close()
		_, err := io.Copy(io.Discard, from)
		end <- err
	}()
	return end
}

// openAndForget opens an event stream and never reads from it.
func openAndForget(t *testing.T, g *tidegatetest.Gateway) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := fmt.Fprintf(c, "GET /dashboard/events/ HTTP/1.1\r\nHost: %s\r\n\r\n", c.RemoteAddr()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // the stream is open
		t.Fatal(err)
	}
}

// TestOpenPages checks that open pages do not delay a reload or the end of the gateway, and
// that their streams end cleanly, so that browsers reconnect.
func TestOpenPages(t *testing.T) {
	t.Parallel()
	sim := tidegatetest.StartSim(t)
	settings := tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}}
	gateway := tidegatetest.Run(t, settings)
	open := func() (all []<-chan error) {
		for range 4 {
			all = append(all, openPage(t, gateway))
		}
		openAndForget(t, gateway)
		return all
	}
	over := func(when string, pages []<-chan error) {
		t.Helper()
		for _, ended := range pages {
			if err := <-ended; err != nil {
				t.Errorf("a stream that was open at the %s broke off: %v", when, err)
			}
		}
	}
	pages := open()
	settings.Batch = "max_in_flight 7"
	gateway.Reload(t, settings)
	over("reload", pages)
	pages = open() // they are back
	gateway.Stop(t)
	over("stop", pages)
}

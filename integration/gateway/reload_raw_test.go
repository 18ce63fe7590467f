package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/tidegatetest"
)

// rawClient sends one request after the other on a connection, and opens another only after a
// response with Connection: close. It never retries a request.
type rawClient struct {
	addr string
	body []byte
	conn net.Conn
	in   *bufio.Reader
}

// ask sends a request and reads the whole answer.
func (c *rawClient) ask() error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		c.conn, c.in = conn, bufio.NewReader(conn)
	}
	err := c.exchange()
	if err != nil {
		c.close()
	}
	return err
}

func (c *rawClient) exchange() error {
	request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", tidegatetest.ChatPath, c.addr, len(c.body), c.body)
	if _, err := io.WriteString(c.conn, request); err != nil {
		return fmt.Errorf("sending the request: %w", err)
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return fmt.Errorf("reading the header: %w", err)
	}
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the body: %w", err)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d: %s", answer.StatusCode, text)
	case answer.Close:
		c.close()
	}
	return nil
}

func (c *rawClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// reload posts a configuration to the admin endpoint, whose own connections Caddy
// resets when it is reloaded: a second post of the same changes nothing.
func reload(t *testing.T, g *tidegatetest.Gateway, s tidegatetest.Settings) {
	t.Helper()
	g.WriteCaddyfile(t, s)
	tidegatetest.Eventually(t, 20*time.Second, "the configuration to be loaded", func() bool {
		return g.LoadCaddyfile(t) == nil
	})
}

// A client that uses a connection for one request after the other, and one that
// makes a connection for each, notice nothing of reloads, although neither sends
// anything a second time.
func TestReloadsCloseNoConnectionInUse(t *testing.T) {
	t.Parallel()
	const reloads = 100
	sim := tidegatetest.StartSim(t, "--ttft", "1ms", "--itl", "100us")
	settings := func(i int) tidegatetest.Settings {
		return tidegatetest.Settings{Sims: []*tidegatetest.Sim{sim}, Site: fmt.Sprintf("header X-Reload %d\n\ttidegate", i)}
	}
	gateway := tidegatetest.Run(t, settings(0))
	addr := strings.TrimPrefix(gateway.URL, "http://")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	kinds := []string{"kept", "kept, streamed", "new", "new, streamed"}
	asked, failed := make([]atomic.Int64, len(kinds)), make([]atomic.Int64, len(kinds))
	for i := range 4 * len(kinds) {
		kind := i % len(kinds)
		c := &rawClient{addr: addr, body: tidegatetest.ChatBody(t, fmt.Sprint("client ", i), kind%2 == 1)}
		clients.Go(func() {
			defer c.close()
			for ctx.Err() == nil {
				asked[kind].Add(1)
				if err := c.ask(); err != nil {
					if failed[kind].Add(1) == 1 {
						t.Errorf("%s: %v", kinds[kind], err)
					}
				}
				if kind >= 2 {
					c.close()
				}
			}
		})
	}
	for i := range reloads {
		reload(t, gateway, settings(i+1))
	}
	stop()
	clients.Wait()
	for kind, name := range kinds {
		t.Logf("%s: %d of %d failed", name, failed[kind].Load(), asked[kind].Load())
	}
}

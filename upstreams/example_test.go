package upstreams_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"go.uber.org/zap"

	"github.com/tidegate/tidegate/upstreams"
)

// A Proxy balances live requests over the servers of a Pool. It can be mounted in
// any HTTP server.
func ExampleProxy() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/models":
			_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"tide-7b","object":"model"}]}`)
		case "/v1/completions":
			_, _ = io.WriteString(w, `{"object":"text_completion","choices":[{"text":"twice a day"}]}`)
		}
	}))
	defer server.Close()

	pool := upstreams.NewPool(zap.NewNop())
	defer pool.Close()
	if err := pool.Apply(upstreams.Config{Upstreams: []upstreams.UpstreamConfig{{URL: server.URL}}}); err != nil {
		fmt.Println(err)
		return
	}
	pool.Start()
	<-pool.Probed() // every server was probed once
	gateway := httptest.NewServer(upstreams.NewProxy(pool, zap.NewNop(), nil))
	defer gateway.Close()

	answer, err := http.Post(gateway.URL+"/v1/completions", "application/json", strings.NewReader(`{"model":"tide-7b","prompt":"Tides come"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	fmt.Println(answer.StatusCode, string(body), err)
	// Output: 200 {"object":"text_completion","choices":[{"text":"twice a day"}]} <nil>
}

// ParseHours checks a range of hours as the Caddyfile has it.
func ExampleParseHours() {
	fmt.Println(upstreams.ParseHours("Mon-Fri 08:00-18:00"))
	fmt.Println(upstreams.ParseHours("Mon-Fri 08:00-25:00") != nil)
	// Output:
	// <nil>
	// true
}

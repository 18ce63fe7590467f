package upstreams

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Headers of an upstream's answer that act on the gateway's site or on a proxy in
// front of it do not reach the client.
func TestAnswerHeaderAllowList(t *testing.T) {
	src := http.Header{"Connection": {"X-Ratelimit-Hop"}, "X-Ratelimit-Hop": {"1"}}
	for _, name := range []string{
		"Set-Cookie", "Clear-Site-Data", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "X-Accel-Redirect",
		"X-Accel-Buffering", "X-Sendfile", "Strict-Transport-Security", "Location", "Refresh", "Link", "Content-Security-Policy",
		"Www-Authenticate", "Service-Worker-Allowed", "Alt-Svc", "Nel", "Report-To", "Server", "Date", "Content-Length", "X-Unknown",
	} {
		src.Set(name, "v")
	}
	want := http.Header{"X-Request-Id": {"id-1"}}
	for _, name := range []string{
		"Content-Type", "Content-Encoding", "Retry-After", "Retry-After-Ms", "X-Should-Retry", "Openai-Processing-Ms",
		"X-Ratelimit-Remaining-Requests", "Anthropic-Ratelimit-Tokens-Limit", "Request-Id", "Endpoint-Load-Metrics",
	} {
		src.Set(name, "v")
		want.Set(name, "v")
	}
	got := http.Header{}
	answerHeader(got, src, []string{"id-1"})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("headers that reach the client (-want +got):\n%s", diff)
	}
}

package storetest

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// models returns the stored models.
func (e *env) models() map[string]string {
	e.Helper()
	models, err := e.s.UpstreamModels(e.Context())
	e.ok(err)
	return models
}

var upstreamModelTests = []test{
	{"models of upstreams are what was set last, also after a restart", func(e *env) {
		equal(e, "none", e.models(), map[string]string{})
		e.ok(e.s.SetUpstreamModels(e.Context(), "http://a", `[{"id":"m"}]`))
		e.ok(e.s.SetUpstreamModels(e.Context(), "http://b", `[]`))
		e.ok(e.s.SetUpstreamModels(e.Context(), "http://a", `[{"id":"ü\"\u202e"}]`))
		e.reopen()
		equal(e, "models", e.models(), map[string]string{"http://a": `[{"id":"ü\"\u202e"}]`, "http://b": `[]`})
	}},
	{"what was set longest ago is forgotten", func(e *env) {
		for i := range batch.UpstreamsKept + 2 {
			if i < 4 {
				e.db.Advance(time.Second)
			}
			e.ok(e.s.SetUpstreamModels(e.Context(), fmt.Sprint("http://", i), "[]"))
			if i == 3 { // 0 is set again
				e.db.Advance(time.Second)
				e.ok(e.s.SetUpstreamModels(e.Context(), "http://0", "[]"))
				e.db.Advance(time.Second)
			}
		}
		got := e.models()
		equal(e, "how many", len(got), batch.UpstreamsKept)
		for upstream, want := range map[string]bool{"http://0": true, "http://1": false, "http://2": false, "http://3": true} {
			_, is := got[upstream]
			equal(e, upstream, is, want)
		}
	}},
}

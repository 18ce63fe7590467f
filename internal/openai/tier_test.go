package openai

import (
	"strings"
	"testing"
)

func TestServiceTier(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"none", `{"model":"m","messages":[]}`, ""},
		{"flex", `{"model":"m","service_tier":"flex"}`, "flex"},
		{"spaced", " {\n\t\"service_tier\" : \"flex\" , \"model\":\"m\"}", "flex"},
		{"another", `{"model":"m","service_tier":"auto"}`, "auto"},
		{"after the prompt", `{"messages":[{"role":"user","content":"` + strings.Repeat(`a\"}`, 1000) + `"}],"service_tier":"flex"}`, "flex"},
		{"the last one counts", `{"service_tier":"flex","service_tier":"default"}`, "default"},
		{"null", `{"service_tier":null}`, ""},
		{"no string", `{"service_tier":["flex"]}`, ""},
		{"escaped value", `{"service_tier":"fle\u0078"}`, "flex"},
		{"in a string", `{"input":"\"service_tier\":\"flex\""}`, ""},
		{"in a member", `{"metadata":{"service_tier":"flex"}}`, ""},
		{"cut off after it", `{"service_tier":"flex","messages":[{"role":`, "flex"},
		{"cut off before it", `{"messages":[{"role":"service_tier"`, ""},
		{"cut off in it", `{"service_tier":"fle`, ""},
		{"no object", `["service_tier","flex"]`, ""},
		{"nothing", ``, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ServiceTier([]byte(test.body)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func BenchmarkServiceTier(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 4000) + `"}],"max_tokens":100}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		ServiceTier(body)
	}
}

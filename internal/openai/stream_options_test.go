package openai

import (
	"strings"
	"testing"
)

// The body is changed only where the server would not send the usage, and every other byte
// stays. It finds values that Python and Pydantic read differently from this package: such a
// client would get a stream of unknown usage.
func TestAskForUsage(t *testing.T) {
	const add = `"stream_options":{"include_usage":true},`
	for _, tt := range []struct{ name, body, want string }{ // want "": unchanged
		{"absent", ` {"model":"m", "stream": true}`, ` {` + add + `"model":"m", "stream": true}`},
		{"null", `{"stream":true,"stream_options": null ,"x":1}`, `{"stream":true,"stream_options": {"include_usage":true} ,"x":1}`},
		{"false", `{"stream_options":{ "include_usage" : false },"stream":true}`, `{"stream_options":{ "include_usage" : true },"stream":true}`},
		{"null inside", `{"stream_options":{"include_usage":null,"a":"b"},"stream":true}`, `{"stream_options":{"include_usage":true,"a":"b"},"stream":true}`},
		{"asked for", `{"stream_options":{"include_usage":true},"stream":true}`, ""},
		{"asked for as text", `{"stream_options":{"include_usage":"Yes"},"stream":true}`, ""},
		{"the server decides", `{"stream_options":{},"stream":true}`, ""},
		{"continuous, the server decides", `{"stream_options":{"continuous_usage_stats":true},"stream":true}`, ""},
		{"continuous and asked for", `{"stream_options":{"continuous_usage_stats":true,"include_usage":true},"stream":true}`, ""},
		{"continuous without", `{"stream_options":{"continuous_usage_stats":true,"include_usage":false},"stream":true}`, `{"stream_options":{"continuous_usage_stats":false,"include_usage":true},"stream":true}`},
		{"continuous behind", `{"stream_options":{"include_usage":0,"continuous_usage_stats":1},"stream":true}`, `{"stream_options":{"include_usage":true,"continuous_usage_stats":false},"stream":true}`},
		{"not streamed", `{"stream":false,"user":"stream"}`, ""},
		{"not streamed by text", `{"stream":"off"}`, ""},
		{"no member", `{"messages":[{"content":"\"stream\":true"}]}`, ""},
		{"the word in a prompt", `{"prompt":"\"stream_options\":{}","stream":true}`, `{` + add + `"prompt":"\"stream_options\":{}","stream":true}`},
		{"in an inner object", `{"x":{"stream":true}}`, ""},
		{"number", `{"stream":1}`, `{` + add + `"stream":1}`},
		{"float", `{"stream":1.0}`, `{` + add + `"stream":1.0}`},
		{"text", `{"stream":"TRUE"}`, `{` + add + `"stream":"TRUE"}`},
		{"escaped text", `{"stream":"\u0074rue"}`, `{` + add + `"stream":"\u0074rue"}`},
		{"refused by servers", `{"stream":"maybe"}`, ""},
		{"streamed by the last of two", `{"stream":false,"stream":true}`, `{` + add + `"stream":false,"stream":true}`},
		{"not streamed by the last of two", `{"stream":true,"stream":false}`, ""},
		{"options twice", `{"stream_options":{"include_usage":true},"stream":true,"stream_options":null}`, `{"stream_options":{"include_usage":true},"stream":true,"stream_options":{"include_usage":true}}`},
		{"include_usage twice", `{"stream":true,"stream_options":{"include_usage":true,"include_usage":false}}`, `{"stream":true,"stream_options":{"include_usage":true,"include_usage":true}}`},
		{"escaped name", `{"stream":true,"stream\u005foptions":{"include\u005fusage":false}}`, `{"stream":true,"stream\u005foptions":{"include\u005fusage":true}}`},
		{"options of a wrong type", `{"stream":true,"stream_options":true}`, ""},
		{"usage of a wrong type", `{"stream":true,"stream_options":{"include_usage":[]}}`, ""},
		{"cut", `{"stream":true,"stream_options":{"include_usage":false}`, ""},
		{"not an object", `["stream"]`, ""},
		{"empty", ``, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := strings.Clone(tt.body)
			e, ok := AskForUsage([]byte(tt.body))
			if ok != (tt.want != "") {
				t.Fatalf("got a change: %t (%+v), want %t", ok, e, tt.want != "")
			}
			if !ok {
				return
			}
			got := string(e.Apply([]byte(tt.body)))
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if len(got)-len(tt.body) != e.Growth() || tt.body != before {
				t.Errorf("got a growth of %d for %d bytes, body %s", e.Growth(), len(got)-len(tt.body), tt.body)
			}
			if _, again := AskForUsage([]byte(got)); again {
				t.Error("the changed body is changed once more")
			}
		})
	}
}

// Only an event that has nothing but the usage is removed from what a client gets. It finds
// an error that is removed together with the usage.
func TestIsUsageEvent(t *testing.T) {
	for data, want := range map[string]bool{
		`{"id":"x","choices":[],"usage":{"prompt_tokens":1}}`:             true,
		`{"usage":{},"choices":[ ]}`:                                      true,
		`{"choices":[{"index":0,"text":""}],"usage":{"prompt_tokens":1}}`: false, // continuous_usage_stats
		`{"choices":[],"usage":{"prompt_tokens":1},"error":{"code":500}}`: false,
		`{"error":"x","choices":[],"usage":{"prompt_tokens":1}}`:          false,
		`{"choices":[],"usage":{"prompt_tokens":1},"error":null}`:         true,
		`{"choices":[],"usage":null}`:                                     false,
		`{"choices":[],"prompt_filter_results":[]}`:                       false, // Azure
		`{"usage":{"prompt_tokens":1}}`:                                   false,
		`{"choices":[{"text":"\"choices\":[],\"usage\":{}"}]}`:            false,
		`{"choices":[],"usage":{"prompt_tokens":1}`:                       false,
		`[DONE]`: false,
		``:       false,
		`{"choices":[],"usage":{"prompt_tokens":1},"system_fingerprint":"a b"}`: true,
	} {
		if got := IsUsageEvent([]byte(data)); got != want {
			t.Errorf("%s: got %t, want %t", data, got, want)
		}
	}
}

func BenchmarkAskForUsage(b *testing.B) {
	text := strings.Repeat(`A line of text with \"quotes\" in it.\n`, 30)
	for name, body := range map[string]string{
		"1KB/streamed":   `{"model":"m","messages":[{"role":"user","content":"` + text + `"}],"stream":true}`,
		"1KB/plain":      `{"model":"m","messages":[{"role":"user","content":"` + text + `"}]}`,
		"100KB/streamed": `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(text, 90) + `"}],"stream":true}`,
		"100KB/plain":    `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(text, 90) + `"}]}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			text := []byte(body)
			for b.Loop() {
				AskForUsage(text)
			}
		})
	}
}

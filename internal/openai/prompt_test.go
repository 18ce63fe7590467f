package openai

import (
	"strings"
	"testing"
)

func TestFindPrompt(t *testing.T) {
	for name, tt := range map[string]struct {
		body                  string
		tools, system, prompt string
		salt                  string
	}{
		"a chat":                      {`{"model":"m","messages":[{"role":"user","content":"a"}],"tools":[1]}`, `[1]`, ``, `[{"role":"user","content":"a"}]`, ``},
		"a completion":                {`{"prompt":"a \"b\"","model":"m"}`, ``, ``, `"a \"b\""`, ``},
		"a response":                  {`{"instructions":"be kind","input":["x"]}`, ``, `"be kind"`, `["x"]`, ``},
		"messages with a system":      {`{"system":"s","messages":[]}`, ``, `"s"`, `[]`, ``},
		"a salt":                      {`{"cache_salt":"abc","prompt":"p"}`, ``, ``, `"p"`, `"abc"`},
		"a name with escapes":         {`{"pr\u006fmpt":"p"}`, ``, ``, `"p"`, ``},
		"the last of a name counts":   {`{"prompt":"p","prompt":"q"}`, ``, ``, `"q"`, ``},
		"nothing":                     {`{"model":"m"}`, ``, ``, ``, ``},
		"no object":                   {`["messages"]`, ``, ``, ``, ``},
		"no JSON":                     {`messages`, ``, ``, ``, ``},
		"empty":                       {``, ``, ``, ``, ``},
		"the beginning of messages":   {`{"model":"m","messages":[{"role":"user","content":"a lo`, ``, ``, `[{"role":"user","content":"a lo`, ``},
		"the beginning of a string":   {`{"prompt":"a lo`, ``, ``, `"a lo`, ``},
		"ends before the value":       {`{"prompt":`, ``, ``, ``, ``},
		"ends in another value":       {`{"prompt":"p","user":"x`, ``, ``, `"p"`, ``},
		"ends in a name":              {`{"prompt":"p","mess`, ``, ``, `"p"`, ``},
		"an object within is skipped": {`{"metadata":{"prompt":"no"},"prompt":"p"}`, ``, ``, `"p"`, ``},
	} {
		p := FindPrompt([]byte(tt.body))
		if string(p.Parts[0]) != tt.tools || string(p.Parts[1]) != tt.system || string(p.Parts[2]) != tt.prompt || string(p.Salt) != tt.salt {
			t.Errorf("%s: got tools %s, instructions %s, prompt %s, salt %s; want %s, %s, %s, %s",
				name, p.Parts[0], p.Parts[1], p.Parts[2], p.Salt, tt.tools, tt.system, tt.prompt, tt.salt)
		}
	}
}

func BenchmarkFindPrompt(b *testing.B) {
	body := []byte(`{"model":"m","messages":[{"role":"system","content":"` + strings.Repeat("you are a kind assistant ", 300) + `"},{"role":"user","content":"` + strings.Repeat("what is this? ", 640) + `"}],"stream":true}`)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if p := FindPrompt(body); p.Parts[2] == nil {
			b.Fatal("no prompt")
		}
	}
}

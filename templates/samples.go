package templates

import "encoding/json"

// sampleLine returns a request of a batch for the first of models, or for "MODEL".
func sampleLine(models []string) string {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	type body struct {
		Model    string    `json:"model"`
		Messages []message `json:"messages"`
	}
	line := struct {
		CustomID string `json:"custom_id"`
		Method   string `json:"method"`
		URL      string `json:"url"`
		Body     body   `json:"body"`
	}{"1", "POST", "/v1/chat/completions", body{"MODEL", []message{{"user", "Hello"}}}}
	if len(models) > 0 {
		line.Body.Model = models[0]
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

// sampleUpstream returns the configuration of a server.
const sampleUpstream = `{
	tidegate {
		pool {
			upstream http://vllm-1:8000
		}
	}
}`

package tidegatetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
)

// ChatPath is the endpoint of chat completions.
const ChatPath = "/v1/chat/completions"

// ChatBody is a request for a chat completion of Model with one message.
func ChatBody(tb testing.TB, prompt string, stream bool) []byte {
	tb.Helper()
	body := map[string]any{"model": Model, "messages": []map[string]string{{"role": "user", "content": prompt}}}
	if stream {
		body["stream"] = true
		body["stream_options"] = map[string]bool{"include_usage": true}
	}
	text, err := json.Marshal(body)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// BatchInput returns a batch input of n lines with the custom ids of CustomID. prompt
// returns the prompt of a line; nil for a unique one.
func BatchInput(tb testing.TB, n int, prompt func(i int) string) []byte {
	tb.Helper()
	if prompt == nil {
		prompt = func(i int) string { return fmt.Sprintf("What does line %d of the batch bring?", i) }
	}
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"custom_id":%q,"method":"POST","url":%q,"body":%s}`+"\n", CustomID(i), ChatPath, ChatBody(tb, prompt(i), false))
	}
	return b.Bytes()
}

// CustomID is that of line i, counted from 0, of a BatchInput.
func CustomID(i int) string { return fmt.Sprintf("line-%06d", i) }

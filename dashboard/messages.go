package dashboard

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidegate/tidegate/templates"
)

const (
	messageBytes = 64 << 10 // of one message
	mostMessages = 200      // of a request or of an answer
)

// Prompt extracts the messages of a line of an input file. Unknown parts are skipped,
// and invalid JSON has no messages.
func Prompt(line []byte) []templates.Message {
	var request struct {
		Body map[string]any `json:"body"`
	}
	if json.Unmarshal(line, &request) != nil {
		return nil
	}
	var all messages
	all.add("instructions", request.Body["instructions"])
	all.addEach("message", request.Body["messages"])
	all.addEach("prompt", request.Body["prompt"])
	all.addEach("input", request.Body["input"])
	all.add("query", request.Body["query"])
	all.addEach("document", request.Body["documents"])
	all.addEach("text", request.Body["text_1"])
	all.addEach("text", request.Body["text_2"])
	return all
}

// Answer extracts the messages of a line of an output or error file.
func Answer(line []byte) []templates.Message {
	var result struct {
		Response struct {
			Body any `json:"body"`
		} `json:"response"`
		Error map[string]any `json:"error"`
	}
	if json.Unmarshal(line, &result) != nil {
		return nil
	}
	var all messages
	all.add("error", result.Error["message"])
	body, ok := result.Response.Body.(map[string]any)
	if !ok {
		all.add("answer", result.Response.Body) // a text
		return all
	}
	switch e := body["error"].(type) {
	case map[string]any:
		all.add("error", e["message"])
	default:
		all.add("error", e)
	}
	choices, _ := body["choices"].([]any)
	for i, c := range choices {
		choice, _ := c.(map[string]any)
		role := "answer"
		if len(choices) > 1 {
			role += " " + strconv.Itoa(i+1)
		}
		if message, ok := choice["message"].(map[string]any); ok {
			all.addMessage(role, message)
		}
		all.add(role, choice["text"])
		if why, _ := choice["finish_reason"].(string); why == "length" {
			all.add("note", "The answer was cut off at max_tokens.")
		}
	}
	output, _ := body["output"].([]any)
	for _, o := range output {
		if item, ok := o.(map[string]any); ok {
			delete(item, "role") // it is always the assistant
			all.addMessage("answer", item)
		}
	}
	if data, ok := body["data"].([]any); ok && len(data) > 0 {
		if first, _ := data[0].(map[string]any); first["embedding"] != nil {
			numbers, _ := first["embedding"].([]any)
			all.add("answer", fmt.Sprintf("%d embedding(s), the first of %d numbers", len(data), len(numbers)))
		}
	}
	return all
}

type messages []templates.Message

// addEach adds a text, or each element of a list.
func (m *messages) addEach(role string, v any) {
	list, ok := v.([]any)
	if !ok {
		m.add(role, v)
		return
	}
	if len(list) > 0 {
		if _, token := list[0].(float64); token {
			m.add(role, strconv.Itoa(len(list))+" token ids")
			return
		}
	}
	for _, element := range list {
		if message, ok := element.(map[string]any); ok {
			m.addMessage(role, message)
			continue
		}
		m.add(role, element)
	}
}

// addMessage adds an object with a role and a content.
func (m *messages) addMessage(role string, message map[string]any) {
	if own, _ := message["role"].(string); own != "" && !strings.HasPrefix(role, "answer") {
		role = own
	}
	m.add("reasoning", message["reasoning_content"])
	m.add("reasoning", message["reasoning"])
	m.add(role, message["content"])
	m.add("refusal", message["refusal"])
	m.add(role, message["text"])
	calls, _ := message["tool_calls"].([]any)
	for _, c := range calls {
		call, _ := c.(map[string]any)
		m.addCall(call["function"])
	}
	if message["type"] == "function_call" {
		m.addCall(message)
	}
}

func (m *messages) addCall(v any) {
	if f, ok := v.(map[string]any); ok {
		m.add("tool call", fmt.Sprintf("%v(%v)", f["name"], f["arguments"]))
	}
}

// add adds a text, unless it is empty.
func (m *messages) add(role string, v any) {
	text := plain(v)
	if text == "" || len(*m) == mostMessages {
		return
	}
	message := templates.Message{Role: role, Text: text}
	if len(text) > messageBytes {
		end := messageBytes
		for !utf8.RuneStart(text[end]) {
			end--
		}
		message.Text, message.Cut = text[:end], true
	}
	*m = append(*m, message)
}

// plain returns the text of a content: a string or a list of parts.
func plain(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []any:
		var parts []string
		for _, p := range v {
			if text := plain(p); text != "" {
				parts = append(parts, text)
			}
		}
		return strings.Join(parts, "\n")
	case map[string]any:
		if text, ok := v["text"].(string); ok {
			return text
		}
		if kind, _ := v["type"].(string); kind != "" {
			return "[" + kind + "]"
		}
	}
	return ""
}

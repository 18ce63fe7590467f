package openai

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func TestPeekModel(t *testing.T) {
	tests := map[string]struct {
		body   string
		model  string
		stream bool
	}{
		"plain":                         {`{"model":"m","messages":[]}`, "m", false},
		"stream":                        {`{"model":"m","messages":[{"content":"x"}],"stream":true}`, "m", true},
		"stream first":                  {`{"stream":true,"messages":[],"model":"m"}`, "m", true},
		"stream false":                  {`{"model":"m","stream":false}`, "m", false},
		"stream null":                   {`{"model":"m","stream":null}`, "m", false},
		"stream of a wrong type":        {`{"model":"m","stream":"true"}`, "m", false},
		"spaces":                        {" \r\n{ \"model\"\t: \"m\" , \"stream\" : true }\n", "m", true},
		"escapes":                       {`{"mod\u0065l":"a\/\u00e9","str\u0065am":true}`, "a/é", true},
		"nested ones do not count":      {`{"x":{"model":"a","stream":true},"y":[{"model":"b"}],"model":"m"}`, "m", false},
		"those in strings do not count": {`{"x":"\"model\":\"a\",","y":"\\","z":"\\\"","model":"m"}`, "m", false},
		"brackets in strings":           {`{"x":["]}","{[\"",{"y":"}"}],"model":"m"}`, "m", false},
		"cut off after both":            {`{"model":"m","stream":true,"messages":[{"con`, "m", true},
		"rubbish after both":            {`{"model":"m","stream":true,###`, "m", true},
		"the last of two":               {`{"model":"a","model":"b","stream":true}`, "b", true},
		"other values of every type":    {`{"a":1,"b":-1.5e+3,"c":true,"d":false,"e":null,"f":"","g":{},"h":[],"model":"m"}`, "m", false},
		"deep":                          {`{"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `,"model":"m"}`, "m", false},
		"not UTF-8":                     {"{\"model\":\"a\xffb\"}", "a\ufffdb", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			model, stream, err := PeekModel([]byte(test.body))
			if err != nil || model != test.model || stream != test.stream {
				t.Errorf("got %q, %v, %v; want %q, %v", model, stream, err, test.model, test.stream)
			}
		})
	}
}

func TestPeekModelRefuses(t *testing.T) {
	const noJSON = "We could not parse the JSON body of your request: "
	tests := map[string]struct{ body, param, message string }{
		"empty":              {"", "", noJSON + "it is empty."},
		"spaces":             {" \n", "", noJSON + "it is empty."},
		"text":               {"model=m", "", noJSON + "it is not a valid JSON object."},
		"array":              {`[{"model":"m"}]`, "", noJSON + "it is not a valid JSON object."},
		"string":             {`"model"`, "", noJSON + "it is not a valid JSON object."},
		"no colon":           {`{"model" "m"}`, "", noJSON + "it is not a valid JSON object."},
		"no comma":           {`{"a":1 "model":"m"}`, "", noJSON + "it is not a valid JSON object."},
		"comma first":        {`{,"model":"m"}`, "", noJSON + "it is not a valid JSON object."},
		"no quotes":          {`{model:"m"}`, "", noJSON + "it is not a valid JSON object."},
		"no value":           {`{"a":,"model":"m"}`, "", noJSON + "it is not a valid JSON object."},
		"cut before a model": {`{"stream":true,"mess`, "", noJSON + "it ends early."},
		"cut in a string":    {`{"model":"m`, "", noJSON + "it ends early."},
		"cut in an array":    {`{"messages":[{"a":1}`, "", noJSON + "it ends early."},
		"cut in a literal":   {`{"model":"m","stream":tr`, "", noJSON + "it ends early."},
		"cut after a key":    {`{"model"`, "", noJSON + "it ends early."},
		"cut after a colon":  {`{"model":`, "", noJSON + "it ends early."},
		"cut before stream":  {`{"model":"m","messages":[]`, "", noJSON + "it ends early."},
		"no model":           {`{}`, "model", "Missing required parameter: 'model'."},
		"model null":         {`{"model":null}`, "model", "Missing required parameter: 'model'."},
		"model empty":        {`{"model":""}`, "model", "Missing required parameter: 'model'."},
		"model a number":     {`{"model":1}`, "model", "Invalid type for 'model': expected a string, but got a number instead."},
		"model an object":    {`{"model":{}}`, "model", "Invalid type for 'model': expected a string, but got an object instead."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			model, stream, err := PeekModel([]byte(test.body))
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %q, %v, %v", model, stream, err)
			}
			if e.Status != http.StatusBadRequest || e.Type != TypeInvalidRequest || e.Param != test.param || e.Message != test.message {
				t.Errorf("got %+v", e)
			}
			if model != "" || stream {
				t.Errorf("got %q and %v beside the error", model, stream)
			}
		})
	}
}

func TestPeekModelOfEveryPrefix(t *testing.T) {
	body := []byte(`{"a":["\\\"]",{"b":[1.5,null]}],"model":"m","c":"\u00e9","stream":true,"d":{"e":[]}}`)
	enough := strings.Index(string(body), `,"d"`) + 1
	for n := range body {
		model, stream, err := PeekModel(body[:n])
		if seen := err == nil; seen != (n >= enough) {
			t.Errorf("%s: got %q, %v, %v", body[:n], model, stream, err)
		}
	}
}

func FuzzPeekModel(f *testing.F) {
	f.Add([]byte(chatBody))
	f.Add([]byte(`{"a":"\\\"","stream":true,"model":"\u0041"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		model, stream, err := PeekModel(body)
		request, findings := ParseRequest([]byte(`{"custom_id":"a","method":"POST","url":"/v1/score","body":`+string(body)+`}`), "/v1/score")
		if len(findings) > 0 {
			return
		}
		if err != nil || model != request.Model || stream {
			t.Fatalf("got %q, %v, %v of a body whose model is %q", model, stream, err, request.Model)
		}
	})
}

// chatRequest is a body with a prompt of about size bytes.
func chatRequest(size int) []byte {
	text := strings.Repeat(`Call me Ishmael. Some years ago - never mind how long precisely - having \"little\" money,\n`, size/90+1)
	return []byte(`{"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"` + text[:size-size%90] + `"}],"temperature":0.7,"max_tokens":256,"model":"Qwen/Qwen2.5-7B-Instruct","stream":true}`)
}

func BenchmarkPeekModel(b *testing.B) {
	for name, size := range map[string]int{"1KB": 1 << 10, "100KB": 100 << 10} {
		b.Run(name, func(b *testing.B) {
			body := chatRequest(size)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, stream, err := PeekModel(body); err != nil || !stream {
					b.Fatal(err)
				}
			}
		})
	}
}

package openai

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

const chat = "/v1/chat/completions"

// line is a line with a valid frame around body.
func lineOf(endpoint, body string) string {
	return fmt.Sprintf(`{"custom_id":"r1","method":"POST","url":%q,"body":%s}`, endpoint, body)
}

const chatBody = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`

func TestParseRequest(t *testing.T) {
	tests := map[string]struct {
		line string
		want Request
	}{
		"plain": {
			lineOf(chat, chatBody),
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(chatBody)},
		},
		"other order, spaces, unknown members": {
			` { "body" : ` + chatBody + ` , "x" : [ { "body" : 1 } ] , "url":"` + chat + `","custom_id":"r 1","method":"POST"} `,
			Request{CustomID: "r 1", Method: "POST", URL: chat, Model: "m", Body: []byte(chatBody)},
		},
		"escapes": {
			`{"custom\u005fid":"\u00e9\ud83d\ude00\n","method":"P\u004fST","url":"\/v1\/chat\/completions","body":{"mod\u0065l":"a\/b","messages":[0]}}`,
			Request{CustomID: "é😀\n", Method: "POST", URL: chat, Model: "a/b", Body: []byte(`{"mod\u0065l":"a\/b","messages":[0]}`)},
		},
		"the body stays as it is": {
			lineOf(chat, `{ "seed" : 12345678901234567890 , "x":1.0e+00,"messages":[ 1 ],"s":"\u0041", "model":"m", "stream" : null}`),
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(`{ "seed" : 12345678901234567890 , "x":1.0e+00,"messages":[ 1 ],"s":"\u0041", "model":"m", "stream" : null}`)},
		},
		"stream false": {
			lineOf(chat, `{"stream":false,"model":"m","messages":[1]}`),
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(`{"stream":false,"model":"m","messages":[1]}`)},
		},
		"as deep as allowed": {
			lineOf(chat, `{"model":"m","messages":`+strings.Repeat("[", maxDepth-2)+strings.Repeat("]", maxDepth-2)+`}`),
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(`{"model":"m","messages":` + strings.Repeat("[", maxDepth-2) + strings.Repeat("]", maxDepth-2) + `}`)},
		},
		"brackets in strings are no depth": {
			lineOf(chat, `{"model":"m","messages":["`+strings.Repeat(`[{\"`, maxDepth)+`"]}`),
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(`{"model":"m","messages":["` + strings.Repeat(`[{\"`, maxDepth) + `"]}`)},
		},
		"one name in two objects": {
			lineOf(chat, `{"model":"m","messages":[{"a":1},{"a":1,"b":{"a":1}}]}`),
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(`{"model":"m","messages":[{"a":1},{"a":1,"b":{"a":1}}]}`)},
		},
		"custom_id as long as allowed": {
			`{"custom_id":"` + strings.Repeat("é", MaxCustomID) + `","method":"POST","url":"` + chat + `","body":` + chatBody + `}`,
			Request{CustomID: strings.Repeat("é", MaxCustomID), Method: "POST", URL: chat, Model: "m", Body: []byte(chatBody)},
		},
		"lone CR between tokens": {
			"{\r" + lineOf(chat, chatBody)[1:],
			Request{CustomID: "r1", Method: "POST", URL: chat, Model: "m", Body: []byte(chatBody)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			line := []byte(test.line)
			got, findings := ParseRequest(line, chat)
			if len(findings) > 0 {
				t.Fatalf("findings: %+v", findings)
			}
			if got.CustomID != test.want.CustomID || got.Method != test.want.Method || got.URL != test.want.URL || got.Model != test.want.Model || !bytes.Equal(got.Body, test.want.Body) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if !aliases(line, got.Body) {
				t.Error("the body is a copy")
			}
			if string(line) != test.line {
				t.Errorf("the line was changed to %q", line)
			}
		})
	}
}

func aliases(whole, part []byte) bool {
	start, end := uintptr(unsafe.Pointer(unsafe.SliceData(whole))), uintptr(unsafe.Pointer(unsafe.SliceData(part)))
	return start <= end && end+uintptr(len(part)) <= start+uintptr(len(whole))
}

func TestParseRequestUnparseable(t *testing.T) {
	valid := lineOf(chat, chatBody)
	tests := map[string]struct {
		line   string
		reason string // at the end of the message
	}{
		"empty":                 {"", "it is empty."},
		"spaces":                {" \r\t", "it is empty."},
		"text":                  {"hello", "invalid character 'h' at start of value (byte 1)."},
		"cut":                   {valid[:len(valid)-1], "it ends in the middle of a value."},
		"cut in a string":       {`{"a":"b`, "it ends in the middle of a value."},
		"cut in a literal":      {`{"a":tr`, "it ends in the middle of a value."},
		"array":                 {"[" + valid + "]", "it is an array instead of an object."},
		"string":                {`"x"`, "it is a string instead of an object."},
		"number":                {`-1.5`, "it is a number instead of an object."},
		"null":                  {`null`, "it is null instead of an object."},
		"boolean":               {`true`, "it is a boolean instead of an object."},
		"two objects":           {valid + valid, fmt.Sprintf("there is more after the end of the value (byte %d).", len(valid)+1)},
		"two with a lone CR":    {valid + "\r" + valid, fmt.Sprintf("there is more after the end of the value (byte %d).", len(valid)+2)},
		"trailing comma":        {valid + ",", fmt.Sprintf("there is more after the end of the value (byte %d).", len(valid)+1)},
		"trailing brace":        {valid + "}", fmt.Sprintf("there is more after the end of the value (byte %d).", len(valid)+1)},
		"comma before the end":  {`{"a":1,}`, `invalid character '}' at start of string (expecting '"') (byte 8).`},
		"single quotes":         {`{'a':1}`, `invalid character '\'' at start of string (expecting '"') (byte 2).`},
		"comment":               {`{/**/}`, `invalid character '/' at start of string (expecting '"') (byte 2).`},
		"NaN":                   {lineOf(chat, `{"model":NaN}`), "invalid character 'N' at start of value (byte 80)."},
		"Infinity":              {lineOf(chat, `{"model":-Infinity}`), "invalid character 'I' in number (expecting digit) (byte 81)."},
		"leading zero":          {`{"a":01}`, "invalid character '1' after object value (expecting ',' or '}') (byte 7)."},
		"python's True":         {`{"a":True}`, "invalid character 'T' at start of value (byte 6)."},
		"control character":     {"{\"a\":\"\t\"}", `invalid character '\t' in string (expecting non-control character) (byte 7).`},
		"NUL":                   {"{\"a\":\x00}", `invalid character '\x00' at start of value (byte 6).`},
		"invalid UTF-8":         {"{\"a\":\"\xff\"}", "invalid UTF-8 (byte 7)."},
		"UTF-8 of a surrogate":  {"{\"a\":\"\xed\xa0\x80\"}", "invalid UTF-8 (byte 7)."},
		"overlong UTF-8":        {"{\"a\":\"\xc0\xaf\"}", "invalid UTF-8 (byte 7)."},
		"UTF-16":                {"{\x00\"\x00a\x00\"\x00", `invalid character '\x00' at start of string (expecting '"') (byte 2).`},
		"BOM":                   {"\ufeff" + valid, `invalid character '\ufeff' at start of value (byte 1).`},
		"bad escape":            {`{"a":"\x41"}`, "invalid escape sequence `\\x` in string (byte 7)."},
		"duplicate key":         {`{"custom_id":"a","custom_id":"b"}`, "the key 'custom_id' appears twice."},
		"duplicate in the body": {lineOf(chat, `{"model":"m","messages":[{"role":"user"},{"content":1,"content":2}]}`), "the key 'content' appears twice within '/body/messages/1'."},
		"duplicate by escapes":  {lineOf(chat, `{"model":"m","mod\u0065l":"n"}`), "the key 'model' appears twice within '/body'."},
		"duplicate, long":       {`{"` + strings.Repeat("é", 80) + `":1,"` + strings.Repeat("é", 80) + `":1}`, "the key '" + strings.Repeat("é", 50) + "…' appears twice."},
		"too deep":              {lineOf(chat, `{"model":"m","messages":`+strings.Repeat("[", maxDepth-1)+strings.Repeat("]", maxDepth-1)+`}`), "it is nested more than 500 levels deep."},
		"depth bomb":            {strings.Repeat("[", 1<<20), "it is nested more than 500 levels deep."},
		"depth bomb of objects": {strings.Repeat(`{"a":`, 1<<18), "it is nested more than 500 levels deep."},
		"only closing brackets": {strings.Repeat("]", 1000), "invalid character ']' at start of value (byte 1)."},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, findings := ParseRequest([]byte(test.line), chat)
			want := []Finding{{Code: CodeInvalidJSONLine, Message: "This line is not parseable as valid JSON. Reason: " + test.reason}}
			if !slices.Equal(findings, want) {
				t.Errorf("got  %+q\nwant %+q", findings, want)
			}
			if got.CustomID != "" || got.Body != nil {
				t.Errorf("a request was returned: %+v", got)
			}
		})
	}
}

func TestParseRequestFindings(t *testing.T) {
	const missing, request = CodeMissingParameter, CodeInvalidRequest
	frame := func(customID, method, url, body string) string {
		var members []string
		for _, m := range [][2]string{{"custom_id", customID}, {"method", method}, {"url", url}, {"body", body}} {
			if m[1] != "" {
				members = append(members, `"`+m[0]+`":`+m[1])
			}
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	const id, post, url = `"r1"`, `"POST"`, `"` + chat + `"`
	tests := map[string]struct {
		line     string
		endpoint string // chat when empty
		want     []Finding
	}{
		"nothing there": {line: `{}`, want: []Finding{
			{missing, "custom_id", "Missing required parameter: 'custom_id'."},
			{missing, "method", "Missing required parameter: 'method'."},
			{missing, "url", "Missing required parameter: 'url'."},
			{missing, "body", "Missing required parameter: 'body'."},
		}},
		"all null": {line: frame("null", "null", "null", "null"), want: []Finding{
			{missing, "custom_id", "Missing required parameter: 'custom_id'."},
			{missing, "method", "Missing required parameter: 'method'."},
			{missing, "url", "Missing required parameter: 'url'."},
			{missing, "body", "Missing required parameter: 'body'."},
		}},
		"all empty": {line: frame(`""`, `""`, `""`, `{ }`), want: []Finding{
			{missing, "custom_id", "Missing required parameter: 'custom_id'."},
			{missing, "method", "Missing required parameter: 'method'."},
			{missing, "url", "Missing required parameter: 'url'."},
			{missing, "body", "Missing required parameter: 'body'."},
		}},
		"all of a wrong type": {line: frame(`1`, `["POST"]`, `{}`, `"{}"`), want: []Finding{
			{missing, "custom_id", "Invalid type for 'custom_id': expected a string, but got a number instead."},
			{missing, "method", "Invalid type for 'method': expected a string, but got an array instead."},
			{missing, "url", "Invalid type for 'url': expected a string, but got an object instead."},
			{missing, "body", "Invalid type for 'body': expected an object, but got a string instead."},
		}},
		"names are case-sensitive": {line: `{"Custom_ID":"r1","method":"POST","url":"` + chat + `","body":` + chatBody + `}`, want: []Finding{
			{missing, "custom_id", "Missing required parameter: 'custom_id'."},
		}},
		"body is an array": {line: frame(id, post, url, `[]`), want: []Finding{
			{missing, "body", "Invalid type for 'body': expected an object, but got an array instead."},
		}},
		"custom_id is true": {line: frame(`true`, post, url, chatBody), want: []Finding{
			{missing, "custom_id", "Invalid type for 'custom_id': expected a string, but got a boolean instead."},
		}},
		"custom_id too long": {line: frame(`"`+strings.Repeat("é", MaxCustomID+1)+`"`, post, url, chatBody), want: []Finding{
			{CodeStringTooLong, "custom_id", "Invalid 'custom_id': string too long. Expected a string with maximum length 512, but got a string with length 513 instead."},
		}},
		"method GET": {line: frame(id, `"GET"`, url, chatBody), want: []Finding{
			{CodeInvalidMethod, "method", "Invalid method: 'GET'. Every request of a batch must use 'POST'."},
		}},
		"method in lower case": {line: frame(id, `"post"`, url, chatBody), want: []Finding{
			{CodeInvalidMethod, "method", "Invalid method: 'post'. Every request of a batch must use 'POST'."},
		}},
		"several at once": {line: frame("", `"PUT"`, `"/v1/embeddings"`, `{"model":"","messages":[],"stream":true}`), want: []Finding{
			{missing, "custom_id", "Missing required parameter: 'custom_id'."},
			{CodeInvalidMethod, "method", "Invalid method: 'PUT'. Every request of a batch must use 'POST'."},
			{CodeInvalidURL, "url", "The URL '/v1/embeddings' of this request does not match the endpoint '" + chat + "' of the batch."},
			{request, "body.model", "Missing required parameter: 'body.model'."},
			{CodeStreamingUnsupported, "body.stream", "Streaming is not supported in a batch: 'body.stream' must not be true."},
			{request, "body.messages", "Invalid 'body.messages': empty array. Expected an array with minimum length 1, but got an empty array instead."},
		}},
		"no model": {line: frame(id, post, url, `{"messages":[1]}`), want: []Finding{
			{request, "body.model", "Missing required parameter: 'body.model'."},
		}},
		"null model": {line: frame(id, post, url, `{"model":null,"messages":[1]}`), want: []Finding{
			{request, "body.model", "Missing required parameter: 'body.model'."},
		}},
		"model of a wrong type": {line: frame(id, post, url, `{"model":["m"],"messages":[1]}`), want: []Finding{
			{request, "body.model", "Invalid type for 'body.model': expected a string, but got an array instead."},
		}},
		"a nested model does not count": {line: frame(id, post, url, `{"x":{"model":"m"},"messages":[1]}`), want: []Finding{
			{request, "body.model", "Missing required parameter: 'body.model'."},
		}},
		"stream true": {line: frame(id, post, url, `{"model":"m","messages":[1],"stream":true}`), want: []Finding{
			{CodeStreamingUnsupported, "body.stream", "Streaming is not supported in a batch: 'body.stream' must not be true."},
		}},
		"stream as a string": {line: frame(id, post, url, `{"model":"m","messages":[1],"stream":"true"}`), want: []Finding{
			{request, "body.stream", "Invalid type for 'body.stream': expected a boolean, but got a string instead."},
		}},
		"stream as a number": {line: frame(id, post, url, `{"model":"m","messages":[1],"stream":1}`), want: []Finding{
			{request, "body.stream", "Invalid type for 'body.stream': expected a boolean, but got a number instead."},
		}},
		"no messages": {line: frame(id, post, url, `{"model":"m"}`), want: []Finding{
			{request, "body.messages", "Missing required parameter: 'body.messages'."},
		}},
		"messages of a wrong type": {line: frame(id, post, url, `{"model":"m","messages":"hi"}`), want: []Finding{
			{request, "body.messages", "Invalid type for 'body.messages': expected an array, but got a string instead."},
		}},
		"messages with only a space": {line: frame(id, post, url, `{"model":"m","messages":[ ]}`), want: []Finding{
			{request, "body.messages", "Invalid 'body.messages': empty array. Expected an array with minimum length 1, but got an empty array instead."},
		}},

		"completions without prompt":       {line: lineOf("/v1/completions", `{"model":"m"}`), endpoint: "/v1/completions", want: []Finding{{request, "body.prompt", "Missing required parameter: 'body.prompt'."}}},
		"completions with a null prompt":   {line: lineOf("/v1/completions", `{"model":"m","prompt":null}`), endpoint: "/v1/completions", want: []Finding{{request, "body.prompt", "Missing required parameter: 'body.prompt'."}}},
		"completions":                      {line: lineOf("/v1/completions", `{"model":"m","prompt":[1,2]}`), endpoint: "/v1/completions"},
		"completions with embeddings":      {line: lineOf("/v1/completions", `{"model":"m","prompt_embeds":"AA=="}`), endpoint: "/v1/completions"},
		"embeddings without input":         {line: lineOf("/v1/embeddings", `{"model":"m"}`), endpoint: "/v1/embeddings", want: []Finding{{request, "body.input", "Missing required parameter: 'body.input'."}}},
		"embeddings":                       {line: lineOf("/v1/embeddings", `{"model":"m","input":""}`), endpoint: "/v1/embeddings"},
		"embeddings of messages":           {line: lineOf("/v1/embeddings", `{"model":"m","messages":[1]}`), endpoint: "/v1/embeddings"},
		"moderations without input":        {line: lineOf("/v1/moderations", `{"model":"m"}`), endpoint: "/v1/moderations", want: []Finding{{request, "body.input", "Missing required parameter: 'body.input'."}}},
		"moderations":                      {line: lineOf("/v1/moderations", `{"model":"m","input":["x"]}`), endpoint: "/v1/moderations"},
		"responses without input":          {line: lineOf("/v1/responses", `{"model":"m"}`), endpoint: "/v1/responses", want: []Finding{{request, "body.input", "Missing required parameter: 'body.input'."}}},
		"responses":                        {line: lineOf("/v1/responses", `{"model":"m","input":"x"}`), endpoint: "/v1/responses"},
		"responses with a stored prompt":   {line: lineOf("/v1/responses", `{"model":"m","prompt":{"id":"p"}}`), endpoint: "/v1/responses"},
		"messages without messages":        {line: lineOf("/v1/messages", `{"model":"m"}`), endpoint: "/v1/messages", want: []Finding{{request, "body.messages", "Missing required parameter: 'body.messages'."}}},
		"messages":                         {line: lineOf("/v1/messages", `{"model":"m","messages":[1],"max_tokens":1}`), endpoint: "/v1/messages"},
		"rerank without query":             {line: lineOf("/v1/rerank", `{"model":"m","documents":["a"]}`), endpoint: "/v1/rerank", want: []Finding{{request, "body.query", "Missing required parameter: 'body.query'."}}},
		"rerank without documents":         {line: lineOf("/v1/rerank", `{"model":"m","query":"a"}`), endpoint: "/v1/rerank", want: []Finding{{request, "body.documents", "Missing required parameter: 'body.documents'."}}},
		"rerank":                           {line: lineOf("/v1/rerank", `{"model":"m","query":"a","documents":["b"]}`), endpoint: "/v1/rerank"},
		"score of texts":                   {line: lineOf("/v1/score", `{"model":"m","text_1":"a","text_2":"b"}`), endpoint: "/v1/score"},
		"score of queries":                 {line: lineOf("/v1/score", `{"model":"m","queries":"a","documents":"b"}`), endpoint: "/v1/score"},
		"classify":                         {line: lineOf("/v1/classify", `{"model":"m","input":"a"}`), endpoint: "/v1/classify"},
		"pooling":                          {line: lineOf("/v1/pooling", `{"model":"m","data":{}}`), endpoint: "/v1/pooling"},
		"pooling without model, streaming": {line: lineOf("/v1/pooling", `{"stream":true}`), endpoint: "/v1/pooling", want: []Finding{{request, "body.model", "Missing required parameter: 'body.model'."}, {CodeStreamingUnsupported, "body.stream", "Streaming is not supported in a batch: 'body.stream' must not be true."}}},
	}
	for _, url := range []string{
		"https://api.openai.com/v1/chat/completions", "//evil/v1/chat/completions", "/v1/chat/completions/", "/v1/chat/completions?x=1",
		"/v1/chat/completions#x", "/v1/x/../chat/completions", "/v1/chat%2fcompletions", "/V1/chat/completions", " /v1/chat/completions",
		"v1/chat/completions", "/v1/chat/completion", "/metrics",
	} {
		tests["url "+url] = struct {
			line     string
			endpoint string
			want     []Finding
		}{line: lineOf(url, chatBody), want: []Finding{
			{CodeInvalidURL, "url", "The URL '" + url + "' of this request does not match the endpoint '" + chat + "' of the batch."},
		}}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.endpoint == "" {
				test.endpoint = chat
			}
			_, findings := ParseRequest([]byte(test.line), test.endpoint)
			if !slices.Equal(findings, test.want) {
				t.Errorf("line %s\ngot  %+q\nwant %+q", test.line, findings, test.want)
			}
		})
	}
}

func TestParseRequestReturnsThePartsThatAreRight(t *testing.T) {
	got, findings := ParseRequest([]byte(`{"custom_id":"r1","method":"GET","url":"/x","body":{"model":"m"}}`), chat)
	if len(findings) != 3 {
		t.Errorf("findings: %+v", findings)
	}
	if got.CustomID != "r1" || got.Method != "GET" || got.URL != "/x" || got.Model != "m" || string(got.Body) != `{"model":"m"}` {
		t.Errorf("got %+v", got)
	}
}

func TestParseRequestMessagesAreBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	_, findings := ParseRequest([]byte(`{"custom_id":"`+long+`","method":"`+long+`","url":"`+long+`","body":`+chatBody+`}`), chat)
	if len(findings) != 3 {
		t.Fatalf("%d findings", len(findings))
	}
	for _, f := range findings {
		if len(f.Message) > 300 {
			t.Errorf("the message of %s has %d bytes", f.Code, len(f.Message))
		}
	}
}

func TestParseRequestForEveryEndpoint(t *testing.T) {
	body := `{"model":"m","messages":[1],"prompt":"a","input":"b","query":"c","documents":["d"],"text_1":"e","text_2":"f"}`
	for _, endpoint := range BatchEndpoints {
		if _, findings := ParseRequest([]byte(lineOf(endpoint, body)), endpoint); len(findings) > 0 {
			t.Errorf("%s: %+v", endpoint, findings)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		lineOf(chat, chatBody), `{}`, `{"body":{"model":"m","model":1}}`, `{"body":[[[[`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"custom_id":"\"","body":{"\\":"\\\""}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		got, findings := ParseRequest(line, chat)
		if !bytes.Equal(line, before) {
			t.Fatal("the line was changed")
		}
		var ref struct {
			CustomID json.RawMessage `json:"custom_id"`
			Body     json.RawMessage `json:"body"`
		}
		if len(findings) == 1 && findings[0].Code == CodeInvalidJSONLine {
			return
		}
		if err := json.Unmarshal(line, &ref); err != nil {
			t.Fatalf("encoding/json: got error %v for an accepted line", err)
		}
		if got.Body != nil && (!aliases(line, got.Body) || !json.Valid(got.Body)) {
			t.Fatalf("the body %q is a copy or no JSON", got.Body)
		}
		if len(findings) > 0 {
			return
		}
		members := map[string]json.RawMessage{} // case-sensitive, other than a struct
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatal(err)
		}
		var id string
		if err := json.Unmarshal(members["custom_id"], &id); err != nil || id != got.CustomID {
			t.Fatalf("custom_id is %q, want %q (%v)", got.CustomID, id, err)
		}
		if !bytes.Equal(members["body"], got.Body) {
			t.Fatalf("body is %q, want %q", got.Body, members["body"])
		}
		var body map[string]json.RawMessage
		var model string
		if err := json.Unmarshal(got.Body, &body); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body["model"], &model); err != nil || model != got.Model {
			t.Fatalf("model is %q, want %q (%v)", got.Model, model, err)
		}
	})
}

// batchFile is an input file like those of evaluations: questions of some
// hundred bytes.
func batchFile(lines int) []byte {
	var b bytes.Buffer
	for i := range lines {
		question := strings.Repeat("Natalia sold clips to 48 of her friends in April, and then \\\"half as many\\\" in May. ", 1+i%5)
		fmt.Fprintf(&b, `{"custom_id": "q-%d", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "Qwen/Qwen2.5-7B-Instruct", "messages": [{"role": "system", "content": "Solve the problem.\n"}, {"role": "user", "content": "%s"}], "temperature": 0, "max_tokens": 512}}`+"\n", i, question)
	}
	return b.Bytes()
}

func BenchmarkParseRequest(b *testing.B) {
	file := batchFile(1000)
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		lines := NewLineReader(bytes.NewReader(file), 1<<20)
		n := 0
		for {
			line, err := lines.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
			if r, findings := ParseRequest(line.Bytes, chat); len(findings) > 0 || r.Model == "" {
				b.Fatal(findings)
			}
			n++
		}
		if n != 1000 {
			b.Fatalf("%d lines", n)
		}
	}
}

func BenchmarkLineReader(b *testing.B) {
	file := batchFile(1000)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		lines := NewLineReader(bytes.NewReader(file), 1<<20)
		for {
			if _, err := lines.Next(); errors.Is(err, io.EOF) {
				break
			}
		}
	}
}

// An escape of a lone surrogate is JSON that other parsers take: it goes to the
// server as it is. In a custom_id it would make another one of it.
func TestLoneSurrogates(t *testing.T) {
	body := `{"model":"m","messages":[{"role":"user","content":"cut \ud83d"}],"\udc00":"\ud800\ud800"}`
	got, findings := ParseRequest([]byte(lineOf(chat, body)), chat)
	if len(findings) != 0 || string(got.Body) != body {
		t.Errorf("got body %s and %+v, want the body of the line and no findings", got.Body, findings)
	}
	_, findings = ParseRequest([]byte(strings.Replace(lineOf(chat, body), `"custom_id":"`, `"custom_id":"\ud83d`, 1)), chat)
	if len(findings) != 1 || findings[0].Code != CodeInvalidRequest || findings[0].Param != "custom_id" {
		t.Errorf("got %+v, want one finding about custom_id", findings)
	}
	for _, bad := range []string{"\xff", `\ud83d` + "\xff", `\ud83d\x`} {
		_, findings = ParseRequest([]byte(strings.Replace(lineOf(chat, body), `cut \ud83d`, bad, 1)), chat)
		if len(findings) != 1 || findings[0].Code != CodeInvalidJSONLine {
			t.Errorf("%q: got %+v, want one invalid_json_line", bad, findings)
		}
	}
}

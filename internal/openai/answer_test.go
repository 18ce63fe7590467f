package openai

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unsafe"
)

func TestCompactAnswer(t *testing.T) {
	tests := map[string]struct{ body, want string }{
		"spaces and newlines":        {"{\n  \"a\" : [ 1 ,\t2 ] ,\r\n \"b\" : { } }\n", `{"a":[1,2],"b":{}}`},
		"spaces around":              {" \n{\"a\":1}\r\n", `{"a":1}`},
		"strings keep theirs":        {`{"a b": " c\n\" , : [ "}`, `{"a b":" c\n\" , : [ "}`},
		"numbers stay":               {`[ 1.0, 1e400, -0, 12345678901234567890123, 0.1E-07 ]`, `[1.0,1e400,-0,12345678901234567890123,0.1E-07]`},
		"escapes stay":               {`[ "\u0041\/\u2028é😀" ]`, `["\u0041\/\u2028é😀"]`},
		"line separators stay":       {"[ \"\u2028\u2029\u0085\" ]", "[\"\u2028\u2029\u0085\"]"},
		"order stays":                {`{"z":1, "a":2}`, `{"z":1,"a":2}`},
		"names that stand twice":     {`{"a":1, "a":2}`, `{"a":1,"a":2}`},
		"escapes of lone surrogates": {`[ "\ud800" ]`, `["\ud800"]`},
		"a number":                   {" 1 ", "1"},
		"a string":                   {` "a b" `, `"a b"`},
		"null":                       {"null\n", "null"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := CompactAnswer([]byte(test.body))
			if err != nil || string(got) != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestCompactAnswerDoesNotCopyInVain(t *testing.T) {
	body := []byte(`{"a":[1,2.50,"b c \" d"],"e":{"f":null}}`)
	got, err := CompactAnswer(body)
	if err != nil {
		t.Fatal(err)
	}
	if unsafe.SliceData(got) != unsafe.SliceData(body) || len(got) != len(body) {
		t.Errorf("got %q at another place", got)
	}
}

func TestCompactAnswerRefuses(t *testing.T) {
	tests := map[string]struct{ body, reason string }{
		"empty":         {"", "it is empty"},
		"spaces":        {" \n", "it is empty"},
		"HTML":          {"<html>", "invalid character '<' at start of value (byte 1)"},
		"cut":           {`{"a":[1,`, "it ends in the middle of a value"},
		"two values":    {"{}\n{}", "there is more after the end of the value (byte 4)"},
		"an SSE line":   {"data: {}", "invalid character 'd' at start of value (byte 1)"},
		"NaN":           {`{"a":NaN}`, "invalid character 'N' at start of value (byte 6)"},
		"invalid UTF-8": {"[\"a\xff\"]", "it has bytes that are not UTF-8 (byte 4)"},
		"newline in a string": {
			"[\"a\nb\"]", `invalid character '\n' in string (expecting non-control character) (byte 4)`,
		},
		"too deep": {strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), "it is nested more than 500 levels deep"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := CompactAnswer([]byte(test.body))
			if err == nil || err.Error() != test.reason || got != nil {
				t.Errorf("got %q, %v; want the error %q", got, err, test.reason)
			}
		})
	}
}

func FuzzCompactAnswer(f *testing.F) {
	for _, seed := range []string{" { \"a\" : [ 1.0 , \"\\\" \" ] } ", `{"a":1,"a":2}`, `["\ud800"]`, "[\"\u2028\xff\"]", `[1e999]`, `{} {}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		got, err := CompactAnswer(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			return
		}
		if bytes.ContainsAny(got, "\n\r") {
			t.Fatalf("%q is more than one line", got)
		}
		if a, b := valueOf(t, body), valueOf(t, got); !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q", body, got)
		}
		line := AppendResponseLine(nil, "id", "c", 200, "r", got)
		if !json.Valid(line) {
			t.Fatalf("the line %q is no JSON", line)
		}
	})
}

func valueOf(t *testing.T, b []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("encoding/json: got error %v for %q", err, b)
	}
	return v
}

func TestAppendResponseLine(t *testing.T) {
	got := AppendResponseLine([]byte("x"), "batch_req_1", "a\"\n\u2028é", 200, "req\xff", []byte(`{"b":1.0}`))
	want := `x{"id":"batch_req_1","custom_id":"a\"\n` + "\u2028" + `é","response":{"status_code":200,"request_id":"req` + "\ufffd" + `","body":{"b":1.0}},"error":null}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := AppendResponseLine(nil, "", "", 204, "", nil); !json.Valid(got) {
		t.Errorf("without a body: %s", got)
	}
}

func TestAppendErrorLine(t *testing.T) {
	got := AppendErrorLine(nil, "batch_req_1", "a\\", "batch_expired", "Too \"late\".\t")
	want := `{"id":"batch_req_1","custom_id":"a\\","response":null,"error":{"code":"batch_expired","message":"Too \"late\".\t"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLinesOfResultsKeepEveryCustomID(t *testing.T) {
	var all strings.Builder
	for r := range rune(0x300) {
		all.WriteRune(r)
	}
	for _, line := range [][]byte{AppendResponseLine(nil, "i", all.String(), 200, "r", []byte("{}")), AppendErrorLine(nil, "i", all.String(), "c", "m")} {
		var back struct {
			CustomID string `json:"custom_id"`
		}
		if err := json.Unmarshal(line, &back); err != nil || back.CustomID != all.String() {
			t.Errorf("custom_id became %q (%v)", back.CustomID, err)
		}
		if bytes.ContainsAny(line, "\n\r") {
			t.Errorf("%q is more than one line", line)
		}
	}
}

func BenchmarkCompactAnswer(b *testing.B) {
	compact := []byte(`{"id":"chatcmpl-1","object":"chat.completion","created":1763900000,"model":"Qwen/Qwen2.5-7B-Instruct","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		strings.Repeat(`Natalia sold 48/2 = 24 clips in May.\n`, 40) + `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"total_tokens":400,"completion_tokens":300}}`)
	spaced := bytes.ReplaceAll(compact, []byte(`,"`), []byte(`, "`))
	for name, body := range map[string][]byte{"compact": compact, "spaced": spaced} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := CompactAnswer(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

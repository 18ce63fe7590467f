package openai

import (
	"fmt"
	"strings"
	"testing"
)

const (
	chatChunk  = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1763900000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	chatUsage  = `data: {"id":"chatcmpl-1","model":"m","choices":[],"usage":{"prompt_tokens":10,"total_tokens":15,"completion_tokens":5}}` + "\n\n"
	chatDone   = "data: [DONE]\n\n"
	chatStream = chatChunk + chatChunk + chatUsage + chatDone

	responsesStream = "event: response.created\n" + `data: {"response":{"id":"r","model":"m","usage":null},"sequence_number":0,"type":"response.created"}` + "\n\n" +
		"event: response.output_text.delta\n" + `data: {"delta":"hi","type":"response.output_text.delta"}` + "\n\n" +
		"event: response.completed\n" + `data: {"response":{"id":"r","model":"m","output":[{"usage":{"input_tokens":99}}],"usage":{"input_tokens":7,"input_tokens_details":{"cached_tokens":2},"output_tokens":6,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":13}},"sequence_number":2,"type":"response.completed"}` + "\n\n"

	messagesStream = "event: message_start\n" + `data: {"type":"message_start","message":{"id":"x","model":"m","content":[],"usage":{"input_tokens":7,"cache_read_input_tokens":100,"output_tokens":1}}}` + "\n\n" +
		"event: content_block_delta\n" + `data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}` + "\n\n" +
		"event: message_delta\n" + `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":6}}` + "\n\n" +
		"event: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"
)

// withoutNames takes the names of events off a stream.
func withoutNames(stream string) string {
	var b strings.Builder
	for line := range strings.Lines(stream) {
		if !strings.HasPrefix(line, "event:") {
			b.WriteString(line)
		}
	}
	return b.String()
}

type scanned struct {
	usage  Usage
	model  string
	ok     bool
	ended  bool
	events int64
}

func (s *StreamScanner) all() scanned {
	u, model, ok := s.Usage()
	return scanned{u, model, ok, s.Ended(), s.Events()}
}

func TestStreamScanner(t *testing.T) {
	long := strings.Repeat("x", streamLine)
	tests := map[string]struct {
		stream string
		want   scanned
	}{
		"nothing":                  {"", scanned{}},
		"chat":                     {chatStream, scanned{usageOf(10, 0, 5, 0, 15), "m", true, true, 4}},
		"chat without usage":       {chatChunk + chatDone, scanned{ended: true, events: 2}},
		"chat cut":                 {chatChunk + chatUsage, scanned{usageOf(10, 0, 5, 0, 15), "m", true, false, 2}},
		"usage null in each":       {strings.ReplaceAll(chatChunk, `"model"`, `"usage":null,"model"`) + chatUsage + chatDone, scanned{usageOf(10, 0, 5, 0, 15), "m", true, true, 3}},
		"null after usage":         {chatUsage + strings.ReplaceAll(chatChunk, `"model"`, `"usage":null,"model"`), scanned{usageOf(10, 0, 5, 0, 15), "m", true, false, 2}},
		"usage in each: the last":  {"data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n", scanned{usageOf(1, 0, 2, 0, 3), "", true, false, 2}},
		"empty usage after usage":  {chatUsage + "data: {\"usage\":{}}\n\n", scanned{usageOf(10, 0, 5, 0, 15), "m", true, false, 2}},
		"usage in the text":        {`data: {"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":1}"}}]}` + "\n\n", scanned{events: 1}},
		"usage further down":       {`data: {"choices":[{"usage":{"prompt_tokens":1}}]}` + "\n\n", scanned{events: 1}},
		"usage as a value":         {`data: {"a":"usage","b":["usage"],"usage" : {"prompt_tokens" : 1}}` + "\n\n", scanned{usageOf(1, 0, 0, 0, 1), "", true, false, 1}},
		"usage of a wrong type":    {"data: {\"usage\":[{}],\"model\":1}\n\n", scanned{events: 1}},
		"DONE in the text":         {"data: {\"a\":\"[DONE]\"}\n\ndata: \"[DONE]\"\n\n", scanned{events: 2}},
		"DONE without newline":     {"data: [DONE]", scanned{}},
		"DONE without blank line":  {"data: [DONE]\n", scanned{ended: true, events: 1}},
		"DONE without space":       {"data:[DONE]\n", scanned{ended: true, events: 1}},
		"DONE in a comment":        {": data: [DONE]\n\n", scanned{}},
		"CRLF":                     {strings.ReplaceAll(chatStream, "\n", "\r\n"), scanned{usageOf(10, 0, 5, 0, 15), "m", true, true, 4}},
		"CR":                       {strings.ReplaceAll(chatStream, "\n", "\r"), scanned{usageOf(10, 0, 5, 0, 15), "m", true, true, 4}},
		"comments and fields":      {": ping\n\nid: 1\nretry: 5\n" + chatUsage + ": ping\n\n" + chatDone, scanned{usageOf(10, 0, 5, 0, 15), "m", true, true, 2}},
		"data of two lines":        {"data: {\"a\":\ndata: 1}\n\n", scanned{events: 1}},
		"not JSON":                 {"data: {\"usage\":{\n\ndata: \"usage\":{\n\ndata: }\n\n<html>\n", scanned{events: 3}},
		"error event":              {chatChunk + "data: {\"error\":{\"message\":\"gone\"}}\n\n", scanned{events: 2}},
		"responses":                {responsesStream, scanned{usageOf(7, 2, 6, 1, 13), "m", true, true, 3}},
		"responses, CRLF":          {strings.ReplaceAll(responsesStream, "\n", "\r\n"), scanned{usageOf(7, 2, 6, 1, 13), "m", true, true, 3}},
		"responses, no names":      {withoutNames(responsesStream), scanned{usageOf(7, 2, 6, 1, 13), "m", true, true, 3}},
		"responses failed":         {"event: response.failed\ndata: {\"response\":{\"usage\":null}}\n\n", scanned{ended: true, events: 1}},
		"responses failed, CRLF":   {"event: response.failed\r\ndata: {}\r\n\r\n", scanned{ended: true, events: 1}},
		"responses incomplete":     {"event:response.incomplete\ndata: {\"response\":{\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n\n", scanned{usageOf(1, 0, 0, 0, 1), "m", true, true, 1}},
		"failed, type last":        {"data: {\"response\":{},\"type\":\"response.failed\"}\n\n", scanned{ended: true, events: 1}},
		"completed, type between":  {"data: {\"n\":1,\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":1}}}\n\n", scanned{usageOf(1, 0, 0, 0, 1), "", true, true, 1}},
		"type in the text":         {`data: {"delta":"\"type\":\"response.failed"}` + "\n\n" + `data: {"a":"{\"type\":\"message_stop\"}"}` + "\n\n", scanned{events: 2}},
		"type further down":        {`data: {"a":{"type":"message_stop"}}` + "\n\n", scanned{events: 1}},
		"name without data":        {"event: response.completed\n", scanned{}},
		"name of the event before": {"event: response.completed\n\ndata: {}\n\n", scanned{events: 1}},
		"messages":                 {messagesStream, scanned{usageOf(107, 100, 6, 0, 113), "m", true, true, 4}},
		"messages, no names":       {withoutNames(messagesStream), scanned{usageOf(107, 100, 6, 0, 113), "m", true, true, 4}},
		"messages, input in delta": {messagesStream[:strings.Index(messagesStream, "event: content")] + "event: message_delta\n" + `data: {"usage":{"input_tokens":8,"cache_read_input_tokens":101,"output_tokens":9}}` + "\n\n", scanned{usageOf(109, 101, 9, 0, 118), "m", true, false, 2}},
		"overlong":                 {"data: {\"a\":\"" + long + "\",\"usage\":{\"prompt_tokens\":1}}\n\n" + chatDone, scanned{ended: true, events: 2}},
		"overlong, final":          {"event: response.completed\ndata: {\"a\":\"" + long + "\"}\n\n", scanned{ended: true, events: 1}},
		"overlong, no data":        {"dat" + long + "\n\n: " + long + "\nevent:" + long + "\n" + chatUsage, scanned{usageOf(10, 0, 5, 0, 15), "m", true, false, 1}},
		"large":                    {"event: response.completed\ndata: {\"response\":{\"a\":\"" + long[:streamLine/2] + "\",\"usage\":{\"input_tokens\":1}}}\n\n", scanned{usageOf(1, 0, 0, 0, 1), "", true, true, 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{len(test.stream) + 1, 1, 2, 7, 100, 4096} {
				if size < 100 && len(test.stream) > 1<<16 {
					continue
				}
				var s StreamScanner
				for p := test.stream; len(p) > 0; p = p[min(size, len(p)):] {
					chunk := []byte(p[:min(size, len(p))])
					if n, err := s.Write(chunk); n != len(chunk) || err != nil {
						t.Fatalf("Write returned %d, %v", n, err)
					}
				}
				if got := s.all(); got != test.want {
					t.Errorf("chunks of %d: got %+v, want %+v", size, got, test.want)
				}
			}
		})
	}
}

func TestStreamScannerMemoryIsBounded(t *testing.T) {
	var s StreamScanner
	chunk := []byte("data: " + strings.Repeat("x", 32<<10))
	for range 1000 {
		if _, err := s.Write(chunk); err != nil {
			t.Fatal(err)
		}
		if cap(s.held) > 2*streamLine {
			t.Fatalf("%d bytes are held", cap(s.held))
		}
	}
	if _, err := s.Write([]byte("\n\n" + chatStream)); err != nil {
		t.Fatal(err)
	}
	if cap(s.held) > streamKeep {
		t.Errorf("%d bytes are kept", cap(s.held))
	}
	if got := s.all(); got != (scanned{usageOf(10, 0, 5, 0, 15), "m", true, true, 5}) {
		t.Errorf("got %+v", got)
	}
}

func TestStreamScannerDoesNotAllocate(t *testing.T) {
	var s StreamScanner
	stream := []byte(chatChunk + chatChunk + chatUsage + chatChunk[:50])
	rest := []byte(chatChunk[50:])
	write := func() {
		if _, err := s.Write(stream); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(rest); err != nil {
			t.Fatal(err)
		}
	}
	write() // the buffer, and the model's name
	if n := testing.AllocsPerRun(100, write); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzStreamScanner(f *testing.F) {
	for _, seed := range []string{chatStream, responsesStream, messagesStream, "data:\r\n\r\rdata: [DONE]\r", "event: message_delta\ndata: {\"usage\":{\"input_tokens\":1}}\n"} {
		f.Add([]byte(seed), uint(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, seed uint) {
		var whole, cut StreamScanner
		if n, err := whole.Write(stream); n != len(stream) || err != nil {
			t.Fatalf("Write returned %d, %v", n, err)
		}
		for rest := stream; len(rest) > 0; {
			seed = seed*1103515245 + 12345
			n := min(len(rest), int(seed>>16%11))
			if _, err := cut.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if a, b := whole.all(), cut.all(); a != b {
			t.Fatalf("whole %+v\ncut   %+v", a, b)
		}
	})
}

func BenchmarkStreamScanner(b *testing.B) {
	withNull := strings.ReplaceAll(chatChunk, `"finish_reason":null}]`, `"finish_reason":null}],"usage":null`)
	withUsage := strings.ReplaceAll(chatChunk, `"finish_reason":null}]`, `"finish_reason":null}],"usage":{"prompt_tokens":10,"total_tokens":15,"completion_tokens":5}`)
	for name, chunk := range map[string]string{"delta": chatChunk, "null": withNull, "usage": withUsage} {
		for _, size := range []int{len(chunk), 4096} { // an event at a time, and cut anywhere
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				stream := []byte(strings.Repeat(chunk, 1000))
				b.SetBytes(int64(len(stream)))
				b.ReportAllocs()
				for b.Loop() {
					var s StreamScanner
					for p := stream; len(p) > 0; p = p[min(size, len(p)):] {
						_, _ = s.Write(p[:min(size, len(p))])
					}
					if s.Events() != 1000 {
						b.Fatal(s.Events())
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/event")
			})
		}
	}
}

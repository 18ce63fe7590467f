package badinput

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func nested(levels int) string {
	return strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
}

// line returns a valid line with one part replaced.
func line(old, replacement string) string {
	if !strings.Contains(goodLine, old) {
		panic("no " + old + " in a good line")
	}
	return strings.Replace(goodLine, old, replacement, 1)
}

const good2 = `{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body":{"model":"sim","messages":[{"role":"user","content":"hi"}]}}`

// inputs that are stored and fail in validation, with the first finding.
var inputs = map[string]struct {
	content     string
	line        int // 0: none
	code, param string
}{
	"no JSON on the second line":       {goodLine + "\nnope\n", 2, "invalid_json_line", ""},
	"blank lines count":                {goodLine + "\n\n\n \t\nnope\n", 5, "invalid_json_line", ""},
	"CRLF lines count once":            {goodLine + "\r\n\r\nnope\r\n", 3, "invalid_json_line", ""},
	"no last newline":                  {goodLine + "\nnope", 2, "invalid_json_line", ""},
	"a lone CR does not end a line":    {goodLine + "\r" + good2 + "\n" + goodLine, 1, "invalid_json_line", ""},
	"two objects on a line":            {goodLine + good2 + "\n" + goodLine, 1, "invalid_json_line", ""},
	"two objects with a comma":         {goodLine + "\n" + good2 + ",\n", 2, "invalid_json_line", ""},
	"a BOM in the middle":              {goodLine + "\n\xef\xbb\xbf" + good2 + "\n", 2, "invalid_json_line", ""},
	"an array":                         {"[" + goodLine + "]\n", 1, "invalid_json_line", ""},
	"a string":                         {goodLine + "\n\"x\"\n", 2, "invalid_json_line", ""},
	"a number":                         {goodLine + "\n1\n", 2, "invalid_json_line", ""},
	"null":                             {goodLine + "\nnull\n", 2, "invalid_json_line", ""},
	"true":                             {goodLine + "\ntrue\n", 2, "invalid_json_line", ""},
	"NaN":                              {goodLine + "\n" + strings.Replace(good2, `"hi"`, "NaN", 1) + "\n", 2, "invalid_json_line", ""},
	"Infinity":                         {goodLine + "\n" + strings.Replace(good2, `"hi"`, "-Infinity", 1) + "\n", 2, "invalid_json_line", ""},
	"single quotes":                    {goodLine + "\n" + strings.ReplaceAll(good2, `"`, "'") + "\n", 2, "invalid_json_line", ""},
	"a trailing comma":                 {goodLine + "\n" + strings.Replace(good2, "}}", "},}", 1) + "\n", 2, "invalid_json_line", ""},
	"a comment":                        {goodLine + "\n// " + good2 + "\n", 2, "invalid_json_line", ""},
	"an object that does not end":      {goodLine + "\n" + good2[:len(good2)-1] + "\n", 2, "invalid_json_line", ""},
	"an object over two lines":         {"{\n" + goodLine[1:] + "\n" + good2 + "\n", 1, "invalid_json_line", ""},
	"invalid UTF-8":                    {goodLine + "\n" + strings.Replace(good2, "hi", "\xff", 1) + "\n", 2, "invalid_json_line", ""},
	"an overlong encoding":             {goodLine + "\n" + strings.Replace(good2, "hi", "\xc0\xaf", 1) + "\n", 2, "invalid_json_line", ""},
	"a custom_id of a lone surrogate":  {line(`"custom_id":"a"`, `"custom_id":"\ud800"`), 1, "invalid_request", "custom_id"},
	"a raw control character":          {goodLine + "\n" + strings.Replace(good2, "hi", "\x01", 1) + "\n", 2, "invalid_json_line", ""},
	"a NUL":                            {goodLine + "\n" + strings.Replace(good2, "hi", "\x00", 1) + "\n", 2, "invalid_json_line", ""},
	"UTF-16 behind a good line":        {goodLine + "\n{\x00}\x00\n", 2, "invalid_json_line", ""},
	"a depth of 501":                   {goodLine + "\n" + strings.Replace(good2, `"hi"`, nested(501), 1) + "\n", 2, "invalid_json_line", ""},
	"a depth of 1,000,000":             {goodLine + "\n" + strings.Repeat("[", 1_000_000) + "\n", 2, "invalid_json_line", ""},
	"a key twice":                      {line(`"custom_id":"a"`, `"custom_id":"a","custom_id":"b"`), 1, "invalid_json_line", ""},
	"a key twice in the body":          {line(`"model":"sim"`, `"model":"sim","model":"other"`), 1, "invalid_json_line", ""},
	"a key twice by an escape":         {line(`"model":"sim"`, `"model":"sim","m\u006fdel":"other"`), 1, "invalid_json_line", ""},
	"an empty object":                  {"{}\n", 1, "missing_required_parameter", "custom_id"},
	"no custom_id":                     {line(`"custom_id":"a",`, ``), 1, "missing_required_parameter", "custom_id"},
	"custom_id null":                   {line(`"custom_id":"a"`, `"custom_id":null`), 1, "missing_required_parameter", "custom_id"},
	"custom_id empty":                  {line(`"custom_id":"a"`, `"custom_id":""`), 1, "missing_required_parameter", "custom_id"},
	"custom_id a number":               {line(`"custom_id":"a"`, `"custom_id":1`), 1, "missing_required_parameter", "custom_id"},
	"custom_id an object":              {line(`"custom_id":"a"`, `"custom_id":{}`), 1, "missing_required_parameter", "custom_id"},
	"custom_id of 513 characters":      {line(`"custom_id":"a"`, `"custom_id":"`+strings.Repeat("é", 513)+`"`), 1, "string_above_max_length", "custom_id"},
	"custom_id twice":                  {goodLine + "\n" + goodLine + "\n", 2, "duplicate_custom_id", "custom_id"},
	"custom_id twice by an escape":     {goodLine + "\n" + line(`"custom_id":"a"`, `"custom_id":"\u0061"`) + "\n", 2, "duplicate_custom_id", "custom_id"},
	"custom_id twice far apart":        {goodLine + "\n" + manyLines(1000) + goodLine, 1002, "duplicate_custom_id", "custom_id"},
	"no method":                        {line(`"method":"POST",`, ``), 1, "missing_required_parameter", "method"},
	"method GET":                       {line(`"POST"`, `"GET"`), 1, "invalid_method", "method"},
	"method in small letters":          {line(`"POST"`, `"post"`), 1, "invalid_method", "method"},
	"method a number":                  {line(`"POST"`, `7`), 1, "missing_required_parameter", "method"},
	"no url":                           {line(`"url":"/v1/chat/completions",`, ``), 1, "missing_required_parameter", "url"},
	"url of another endpoint":          {line(`"/v1/chat/completions"`, `"/v1/embeddings"`), 1, "invalid_url", "url"},
	"url absolute":                     {line(`"/v1/chat/completions"`, `"http://127.0.0.1/v1/chat/completions"`), 1, "invalid_url", "url"},
	"url with two slashes":             {line(`"/v1/chat/completions"`, `"//evil.example/v1/chat/completions"`), 1, "invalid_url", "url"},
	"url traversing":                   {line(`"/v1/chat/completions"`, `"/v1/chat/completions/../../admin"`), 1, "invalid_url", "url"},
	"url escaped":                      {line(`"/v1/chat/completions"`, `"/v1/chat%2fcompletions"`), 1, "invalid_url", "url"},
	"url with a query":                 {line(`"/v1/chat/completions"`, `"/v1/chat/completions?x=1"`), 1, "invalid_url", "url"},
	"url with a fragment":              {line(`"/v1/chat/completions"`, `"/v1/chat/completions#x"`), 1, "invalid_url", "url"},
	"url with a last slash":            {line(`"/v1/chat/completions"`, `"/v1/chat/completions/"`), 1, "invalid_url", "url"},
	"url with a line end":              {line(`"/v1/chat/completions"`, `"/v1/chat/completions\r\nX: y"`), 1, "invalid_url", "url"},
	"url of a control route":           {line(`"/v1/chat/completions"`, `"/reset_prefix_cache"`), 1, "invalid_url", "url"},
	"no body":                          {line(`,"body":{"model":"sim","messages":[{"role":"user","content":"hi"}]}`, ``), 1, "missing_required_parameter", "body"},
	"body null":                        {line(`{"model":"sim","messages":[{"role":"user","content":"hi"}]}`, `null`), 1, "missing_required_parameter", "body"},
	"body a string":                    {line(`{"model":"sim","messages":[{"role":"user","content":"hi"}]}`, `"{}"`), 1, "missing_required_parameter", "body"},
	"body empty":                       {line(`{"model":"sim","messages":[{"role":"user","content":"hi"}]}`, `{}`), 1, "missing_required_parameter", "body"},
	"no model":                         {line(`"model":"sim",`, ``), 1, "invalid_request", "body.model"},
	"model empty":                      {line(`"model":"sim"`, `"model":""`), 1, "invalid_request", "body.model"},
	"model a number":                   {line(`"model":"sim"`, `"model":3`), 1, "invalid_request", "body.model"},
	"model unknown":                    {line(`"model":"sim"`, `"model":"simm"`), 1, "model_not_found", "body.model"},
	"no messages":                      {line(`,"messages":[{"role":"user","content":"hi"}]`, ``), 1, "invalid_request", "body.messages"},
	"messages empty":                   {line(`[{"role":"user","content":"hi"}]`, `[]`), 1, "invalid_request", "body.messages"},
	"messages an object":               {line(`[{"role":"user","content":"hi"}]`, `{}`), 1, "invalid_request", "body.messages"},
	"stream true":                      {line(`"model":"sim"`, `"model":"sim","stream":true`), 1, "streaming_unsupported", "body.stream"},
	"stream a string":                  {line(`"model":"sim"`, `"model":"sim","stream":"true"`), 1, "invalid_request", "body.stream"},
	"a line over the limit":            {goodLine + "\n" + strings.Replace(good2, "hi", strings.Repeat("x", 2<<20), 1) + "\n", 2, "invalid_request", ""},
	"more lines than allowed":          {manyLines(2001), 2001, "too_many_requests", ""},
	"only the last of 2000 lines":      {manyLines(1999) + "nope", 2000, "invalid_json_line", ""},
	"a gzip file that is not named so": {gzipped(manyLines(3)) + "\n" + goodLine, 1, "invalid_json_line", ""},
}

func manyLines(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Replace(goodLine, `"custom_id":"a"`, fmt.Sprintf(`"custom_id":"n%d"`, i), 1))
		b.WriteByte('\n')
	}
	return b.String()
}

func TestLines(t *testing.T) {
	g := startGateway(t)
	for name, tt := range inputs {
		t.Run(name, func(t *testing.T) {
			b := g.runBatch(t, tt.content)
			if b.Status != "failed" || b.Errors == nil || len(b.Errors.Data) == 0 {
				t.Fatalf("status %s, errors %+v", b.Status, b.Errors)
			}
			e := b.Errors.Data[0]
			gotLine, gotParam := 0, ""
			if e.Line != nil {
				gotLine = *e.Line
			}
			if e.Param != nil {
				gotParam = *e.Param
			}
			if gotLine != tt.line || e.Code != tt.code || gotParam != tt.param || e.Message == "" {
				t.Errorf("line %d %s %q (%s), want line %d %s %q", gotLine, e.Code, gotParam, e.Message, tt.line, tt.code, tt.param)
			}
			if b.RequestCounts.Total != 0 || b.OutputFileID != nil || b.ErrorFileID != nil {
				t.Errorf("a failed batch has results: %+v", b)
			}
			g.remove(t, b)
			g.wantNothingLeft(t)
		})
	}
}

// Inputs that look odd and are fine.
func TestOddInputsRun(t *testing.T) {
	g := startGateway(t)
	for name, content := range map[string]string{
		"a BOM":                     "\xef\xbb\xbf" + goodLine + "\n",
		"CRLF":                      goodLine + "\r\n" + good2 + "\r\n",
		"blank lines everywhere":    "\n\r\n \t\n" + goodLine + "\n\n" + good2 + "\n\n\n",
		"no last newline":           goodLine,
		"spaces around":             "  " + goodLine + " \t\n",
		"unknown members":           line(`"method"`, `"note":{"x":[1,2.50,1e400]},"method"`),
		"a depth of 400":            line(`"model"`, `"metadata":`+nested(400)+`,"model"`),
		"stream false":              line(`"model":"sim"`, `"model":"sim","stream":false`),
		"escapes in the url":        line(`"/v1/chat/completions"`, `"\/v1\/chat\/completions"`),
		"a custom_id of 512":        line(`"custom_id":"a"`, `"custom_id":"`+strings.Repeat("é", 512)+`"`),
		"a hostile custom_id":       line(`"custom_id":"a"`, `"custom_id":"../../etc/passwd\u0000\n<script>alert(1)</script>'; DROP TABLE batches;--"`),
		"line separators in a text": line("hi", "a\u2028b\u2029c"),
	} {
		t.Run(name, func(t *testing.T) {
			b := g.runBatch(t, content)
			if b.Status != "completed" || b.RequestCounts.Failed != 0 || b.RequestCounts.Completed == 0 {
				t.Fatalf("%s %+v %+v", b.Status, b.RequestCounts, b.Errors)
			}
			if lines := g.lines(t, *b.OutputFileID); len(lines) != int(b.RequestCounts.Total) {
				t.Errorf("%d lines of output, want %d", len(lines), b.RequestCounts.Total)
			}
			g.remove(t, b)
			g.wantNothingLeft(t)
		})
	}
}

// Names of files never become paths.
func TestHostileFilenames(t *testing.T) {
	g := startGateway(t)
	for _, name := range []string{
		"../../../etc/cron.d/x.jsonl", `..\..\x.jsonl`, "/etc/passwd.jsonl", "a\x00b.jsonl", "con.jsonl", ".", "..", " ",
		strings.Repeat("n", 300) + ".jsonl", "x\u202egnp.jsonl", "ü%2f..%2f.jsonl", "a;b=c.jsonl", "<img src=x>.jsonl",
	} {
		t.Run(fmt.Sprintf("%.40q", name), func(t *testing.T) {
			answer := g.send(t, http.MethodPost, "/v1/files", multipartType, form(field("purpose", "batch"), file(name, goodLine)))
			if answer.status == http.StatusBadRequest {
				answer.want(t, http.StatusBadRequest, "*", "*")
				g.wantNothingLeft(t)
				return
			}
			if answer.status != http.StatusOK {
				t.Fatalf("status %d: %s", answer.status, answer.body)
			}
			f := answer.file(t)
			if strings.ContainsAny(f.Filename, "/\\\x00\r\n") {
				t.Errorf("filename %q", f.Filename)
			}
			content := g.send(t, http.MethodGet, "/v1/files/"+f.ID+"/content", "", "")
			if content.body != goodLine {
				t.Errorf("content %q", content.body)
			}
			if d := content.header.Get("Content-Disposition"); !strings.HasPrefix(d, "attachment") {
				t.Errorf("disposition %q", d)
			}
			g.send(t, http.MethodDelete, "/v1/files/"+f.ID, "", "")
			g.wantNothingLeft(t)
		})
	}
}

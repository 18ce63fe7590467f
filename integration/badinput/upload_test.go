package badinput

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const goodLine = `{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"sim","messages":[{"role":"user","content":"hi"}]}}`

const boundary = "gate"

// part writes a part of a form.
func part(headers, content string) string {
	return "--" + boundary + "\r\n" + headers + "\r\n\r\n" + content + "\r\n"
}

func field(name, value string) string {
	return part(`Content-Disposition: form-data; name="`+name+`"`, value)
}

func file(name, content string) string {
	return part(`Content-Disposition: form-data; name="file"; filename="`+name+`"`+"\r\nContent-Type: application/octet-stream", content)
}

const closing = "--" + boundary + "--\r\n"

func form(parts ...string) string { return strings.Join(parts, "") + closing }

func gzipped(content string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	must(io.WriteString(w, content))
	check(w.Close())
	return b.String()
}

func zstded(content string) string {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	check(err)
	must(io.WriteString(w, content))
	check(w.Close())
	return b.String()
}

func zipped(entries ...string) string {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for i, content := range entries {
		f, err := w.Create(fmt.Sprintf("%d.jsonl", i))
		check(err)
		must(io.WriteString(f, content))
	}
	check(w.Close())
	return b.String()
}

// bomb is a lot of valid lines in a small archive: 64 MiB, over the limit of
// the gateway under test.
func bomb() string { return strings.Repeat(goodLine+"\n", 64<<20/(len(goodLine)+1)) }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must(_ int, err error) { check(err) }

const multipartType = "multipart/form-data; boundary=" + boundary

// uploads are refused, without leaving data.
var uploads = map[string]struct {
	contentType string // multipartType when empty
	body        string
	status      int
	param, code string // "*" for any
}{
	"no content type":                 {contentType: "-", body: form(field("purpose", "batch"), file("a.jsonl", goodLine)), status: 415, code: "unsupported_content_type"},
	"JSON instead of a form":          {contentType: "application/json", body: `{"file":"a","purpose":"batch"}`, status: 400, code: "unsupported_content_type"},
	"urlencoded form":                 {contentType: "application/x-www-form-urlencoded", body: "purpose=batch&file=a", status: 415, code: "unsupported_content_type"},
	"no boundary":                     {contentType: "multipart/form-data", body: form(field("purpose", "batch"), file("a.jsonl", goodLine)), status: 400},
	"another boundary":                {contentType: "multipart/form-data; boundary=other", body: form(field("purpose", "batch"), file("a.jsonl", goodLine)), status: 400},
	"multipart/mixed":                 {contentType: "multipart/mixed; boundary=gate", body: form(field("purpose", "batch"), file("a.jsonl", goodLine)), status: 400, code: "unsupported_content_type"},
	"a boundary of 300 characters":    {contentType: "multipart/form-data; boundary=" + strings.Repeat("x", 300), body: form(), status: 400},
	"empty body":                      {body: "", status: 400},
	"only the closing boundary":       {body: closing, status: 400, param: "file", code: "missing_required_parameter"},
	"preamble only":                   {body: "hello\r\n", status: 400},
	"no file":                         {body: form(field("purpose", "batch")), status: 400, param: "file", code: "missing_required_parameter"},
	"unknown purpose":                 {body: form(field("purpose", "world-domination"), file("a.jsonl", goodLine)), status: 400, param: "purpose", code: "invalid_value"},
	"purpose of results":              {body: form(field("purpose", "batch_output"), file("a.jsonl", goodLine)), status: 400, param: "purpose", code: "invalid_value"},
	"purpose in capitals":             {body: form(field("purpose", "BATCH"), file("a.jsonl", goodLine)), status: 400, param: "purpose", code: "invalid_value"},
	"purpose of 1 MB":                 {body: form(field("purpose", strings.Repeat("b", 1<<20)), file("a.jsonl", goodLine)), status: 413, param: "purpose", code: "*"},
	"two purposes":                    {body: form(field("purpose", "batch"), field("purpose", "vision"), file("a.jsonl", goodLine)), status: 400, param: "purpose", code: "*"},
	"two files":                       {body: form(field("purpose", "batch"), file("a.jsonl", goodLine), file("b.jsonl", goodLine)), status: 400, param: "file", code: "*"},
	"file as a field without a name":  {body: form(field("purpose", "batch"), field("file", goodLine)), status: 400, param: "file", code: "*"},
	"cut in the headers of a part":    {body: "--gate\r\nContent-Disposition: form-data; na", status: 400},
	"cut in the file":                 {body: field("purpose", "batch") + strings.TrimSuffix(file("a.jsonl", goodLine), "\r\n"), status: 400},
	"cut before the closing boundary": {body: field("purpose", "batch") + file("a.jsonl", goodLine), status: 400},
	"purpose behind the file, cut":    {body: file("a.jsonl", goodLine) + "--gate\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbat", status: 400},
	"header without a colon":          {body: form(part("Content-Disposition form-data", "x")), status: 400},
	"header of 100 KB":                {body: form(part(`Content-Disposition: form-data; name="file"; filename="`+strings.Repeat("a", 100<<10)+`"`, goodLine), field("purpose", "batch")), status: 400},
	"a thousand fields":               {body: form(strings.Repeat(field("x", "y"), 1000), field("purpose", "batch"), file("a.jsonl", goodLine)), status: 400},
	"empty file":                      {body: form(field("purpose", "batch"), file("a.jsonl", "")), status: 400},
	"only newlines":                   {body: form(field("purpose", "batch"), file("a.jsonl", "\n\n\r\n")), status: 400},
	"only a BOM":                      {body: form(field("purpose", "batch"), file("a.jsonl", "\xef\xbb\xbf")), status: 400},
	"no line is JSON":                 {body: form(field("purpose", "batch"), file("a.jsonl", "hello\nworld\n")), status: 400},
	"UTF-16":                          {body: form(field("purpose", "batch"), file("a.jsonl", "\xff\xfe{\x00}\x00\n\x00")), status: 400, param: "file", code: "invalid_encoding"},
	"binary":                          {body: form(field("purpose", "batch"), file("a.jsonl", "\x00\x01\x02\x03\xff")), status: 400},
	"a PDF":                           {body: form(field("purpose", "batch"), file("a.pdf", "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")), status: 400},
	"expiry without seconds":          {body: form(field("purpose", "batch"), field("expires_after[anchor]", "created_at"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[seconds]", code: "*"},
	"expiry without anchor":           {body: form(field("purpose", "batch"), field("expires_after[seconds]", "3600"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[anchor]", code: "*"},
	"expiry from another anchor":      {body: form(field("purpose", "batch"), field("expires_after[anchor]", "now"), field("expires_after[seconds]", "3600"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[anchor]", code: "invalid_value"},
	"expiry too soon":                 {body: form(field("purpose", "batch"), field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "3599"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[seconds]", code: "*"},
	"expiry too late":                 {body: form(field("purpose", "batch"), field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "2592001"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[seconds]", code: "*"},
	"expiry in words":                 {body: form(field("purpose", "batch"), field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "soon"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[seconds]", code: "*"},
	"expiry beyond 64 bits":           {body: form(field("purpose", "batch"), field("expires_after[anchor]", "created_at"), field("expires_after[seconds]", "99999999999999999999"), file("a.jsonl", goodLine)), status: 400, param: "expires_after[seconds]", code: "*"},
	"gzip that is none":               {body: form(field("purpose", "batch"), file("a.jsonl.gz", goodLine)), status: 400, param: "file"},
	"gzip cut":                        {body: form(field("purpose", "batch"), file("a.jsonl.gz", gzipped(goodLine)[:60])), status: 400, param: "file"},
	"gzip with a wrong checksum":      {body: form(field("purpose", "batch"), file("a.jsonl.gz", corrupt(gzipped(goodLine), -5))), status: 400, param: "file"},
	"gzip with garbage behind":        {body: form(field("purpose", "batch"), file("a.jsonl.gz", gzipped(goodLine)+"garbage")), status: 400, param: "file"},
	"gzip of nothing":                 {body: form(field("purpose", "batch"), file("a.jsonl.gz", gzipped(""))), status: 400},
	"gzip of gzip":                    {body: form(field("purpose", "batch"), file("a.jsonl.gz", gzipped(gzipped(goodLine)))), status: 400},
	"gzip bomb":                       {body: form(field("purpose", "batch"), file("a.jsonl.gz", gzipped(bomb()))), status: 400, param: "file"},
	"gzip bomb before its purpose":    {body: form(file("a.jsonl.gz", gzipped(bomb())), field("purpose", "batch")), status: 400, param: "file"},
	"zstd that is none":               {body: form(field("purpose", "batch"), file("a.jsonl.zst", goodLine)), status: 400, param: "file"},
	"zstd cut":                        {body: form(field("purpose", "batch"), file("a.jsonl.zst", zstded(goodLine)[:20])), status: 400, param: "file"},
	"zstd bomb":                       {body: form(field("purpose", "batch"), file("a.jsonl.zst", zstded(bomb()))), status: 400, param: "file"},
	"zstd with an absurd window":      {body: form(field("purpose", "batch"), file("a.zst", "\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00")), status: 400, param: "file"},
	"bzip2 that is none":              {body: form(field("purpose", "batch"), file("a.jsonl.bz2", goodLine)), status: 400, param: "file"},
	"bzip2 cut":                       {body: form(field("purpose", "batch"), file("a.jsonl.bz2", "BZh91AY&SY")), status: 400, param: "file"},
	"zip that is none":                {body: form(field("purpose", "batch"), file("a.zip", goodLine)), status: 400, param: "file"},
	"zip cut":                         {body: form(field("purpose", "batch"), file("a.zip", zipped(goodLine)[:80])), status: 400, param: "file"},
	"zip of two":                      {body: form(field("purpose", "batch"), file("a.zip", zipped(goodLine, goodLine))), status: 400, param: "file"},
	"zip of none":                     {body: form(field("purpose", "batch"), file("a.zip", zipped())), status: 400, param: "file"},
	"zip bomb":                        {body: form(field("purpose", "batch"), file("a.zip", zipped(bomb()))), status: 400, param: "file"},
	"file over the limit":             {body: form(field("purpose", "batch"), file("a.jsonl", bomb())), status: 413, param: "file"},
}

// corrupt flips a byte; a negative place counts from the end.
func corrupt(s string, at int) string {
	b := []byte(s)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 0xff
	return string(b)
}

func TestUploads(t *testing.T) {
	g := startGateway(t)
	for name, tt := range uploads {
		t.Run(name, func(t *testing.T) {
			contentType := tt.contentType
			switch contentType {
			case "":
				contentType = multipartType
			case "-":
				contentType = ""
			}
			answer := g.send(t, http.MethodPost, "/v1/files", contentType, tt.body)
			answer.want(t, tt.status, tt.param, tt.code)
			g.wantNothingLeft(t)
		})
	}
}

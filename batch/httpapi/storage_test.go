package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/batch/upload"
)

// A tenant stores no more than its limits, on every way, and what is refused uses no space.
func TestStorageLimits(t *testing.T) {
	const create = `{"filename":"c.jsonl","purpose":"batch","bytes":1000,"mime_type":"application/jsonl"}`
	full := refused{507, "", "storage_limit_exceeded", ""}
	a := newAPI(t, upload.Limits{MaxStoredBytes: int64(3 * len(line))})
	file := func(name, content string) reply {
		return a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", name, content})
	}
	if r := file("a.jsonl", line); r.StatusCode != 200 {
		t.Fatalf("the first file: %d %s", r.StatusCode, r.body)
	}
	full.check(t, file("b.jsonl", strings.Repeat(line, 3)))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(strings.Repeat(line, 100))); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	full.check(t, file("b.jsonl.gz", packed.String()))
	full.check(t, a.json("POST", "/v1/uploads", create))
	u := a.beginUpload("d.jsonl", 2*len(line))
	full.check(t, a.form("/v1/uploads/"+u.ID+"/parts", part{"data", "x", strings.Repeat(line, 3)}))
	a.addPart(u.ID, line)
	a.addPart(u.ID, line)
	full.check(t, a.form("/v1/uploads/"+u.ID+"/parts", part{"data", "x", "y"}))
	full.check(t, file("e.jsonl", line))
	a.wantStored(3, 1)

	c := newAPI(t, upload.Limits{MaxStoredBytes: int64(packed.Len() + 10*len(line))})
	u = c.beginUpload("g.jsonl.gz", packed.Len())
	p := c.addPart(u.ID, packed.String())
	full.check(t, c.complete(u.ID, "", p.ID))
	c.wantStored(1, 0) // the part

	b := newAPI(t, upload.Limits{MaxFiles: 1})
	b.beginUpload("f.jsonl", 10)
	if r := b.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "a.jsonl", line}); r.StatusCode != 200 {
		t.Fatalf("the first file: %d %s", r.StatusCode, r.body)
	}
	full.check(t, b.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "b.jsonl", line}))
	full.check(t, b.json("POST", "/v1/uploads", create))
}

package httpapi_test

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

func (a *api) beginUpload(filename string, size int) openai.Upload {
	a.t.Helper()
	return decode[openai.Upload](a.t, a.json("POST", "/v1/uploads", fmt.Sprintf(
		`{"filename":%q,"purpose":"batch","bytes":%d,"mime_type":"application/jsonl"}`, filename, size)))
}

func (a *api) addPart(upload, content string) openai.UploadPart {
	a.t.Helper()
	return decode[openai.UploadPart](a.t, a.form("/v1/uploads/"+upload+"/parts", part{"data", "blob", content}))
}

func (a *api) complete(upload, extra string, parts ...string) reply {
	a.t.Helper()
	return a.json("POST", "/v1/uploads/"+upload+"/complete", `{"part_ids":["`+strings.Join(parts, `","`)+`"]`+extra+`}`)
}

func TestUpload(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	content := strings.Repeat(line, 1000)
	u := a.beginUpload("in.jsonl", len(content))
	want := openai.Upload{
		ID: u.ID, Object: "upload", Bytes: int64(len(content)), CreatedAt: u.CreatedAt, ExpiresAt: u.CreatedAt + 3600,
		Filename: "in.jsonl", Purpose: "batch", Status: "pending",
	}
	if diff := cmp.Diff(want, u); diff != "" || !strings.HasPrefix(u.ID, "upload_") {
		t.Errorf("upload %s (-want +got):\n%s", u.ID, diff)
	}
	// The parts are sent concurrently, and listed in a different order.
	cuts := []int{0, 10, 5000, 5001, len(content)}
	parts := make([]string, 4)
	var all sync.WaitGroup
	for i := range parts {
		all.Go(func() {
			p := a.addPart(u.ID, content[cuts[i]:cuts[i+1]])
			if !strings.HasPrefix(p.ID, "part_") || p.Object != "upload.part" || p.UploadID != u.ID || p.CreatedAt < u.CreatedAt {
				t.Errorf("got %+v", p)
			}
			parts[i] = p.ID
		})
	}
	all.Wait()
	sum := md5.Sum([]byte(content))
	r := a.complete(u.ID, `,"md5":"`+strings.ToUpper(hex.EncodeToString(sum[:]))+`"`, parts...)
	done := decode[openai.Upload](t, r)
	if done.Status != "completed" || done.File == nil || done.File.Bytes != int64(len(content)) || done.File.Filename != "in.jsonl" || done.File.Purpose != "batch" || done.File.Status != "processed" {
		t.Fatalf("got %s", r.body)
	}
	if got := a.request("GET", "/v1/files/"+done.File.ID+"/content", ""); string(got.body) != content {
		t.Errorf("the content is %d bytes, want %d", len(got.body), len(content))
	}
	if again := a.complete(u.ID, "", parts...); string(again.body) != string(r.body) {
		t.Errorf("completed again: %s", again.body)
	}
	refused{409, "", "", "Cannot cancel an upload with status 'completed'."}.check(t, a.json("POST", "/v1/uploads/"+u.ID+"/cancel", ""))
	refused{409, "", "", "Cannot add a part to an upload with status 'completed'."}.check(t, a.form("/v1/uploads/"+u.ID+"/parts", part{"data", "blob", "x"}))
}

func TestUploadOfACompressedFile(t *testing.T) {
	for filename, packed := range map[string]string{
		"in.jsonl.gz": string(gzipped(t, line)), "in.zip": string(zipped(t, "in.jsonl", line)), "in.zst": string(zstandard(t, line)),
	} {
		a := newAPI(t, upload.Limits{MaxFileBytes: 10}) // which does not bind uploads
		u := a.beginUpload(filename, len(packed))
		first, second := a.addPart(u.ID, packed[:20]), a.addPart(u.ID, packed[20:])
		done := decode[openai.Upload](t, a.complete(u.ID, "", first.ID, second.ID))
		if done.File == nil || done.File.Bytes != int64(len(line)) || done.File.Compression == nil || done.Bytes != int64(len(packed)) {
			t.Errorf("%s: got %+v, file %+v", filename, done, done.File)
		}
		a.wantStored(3, 1)
	}
}

func TestUploadExpiry(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	u := decode[openai.Upload](t, a.json("POST", "/v1/uploads",
		`{"filename":"a.bin","purpose":"user_data","bytes":3,"mime_type":"x/y","expires_after":{"anchor":"created_at","seconds":7200}}`))
	p := a.addPart(u.ID, "abc")
	done := decode[openai.Upload](t, a.complete(u.ID, "", p.ID))
	if f := done.File; f == nil || f.ExpiresAt == nil || *f.ExpiresAt != f.CreatedAt+7200 {
		t.Errorf("got %+v", done.File)
	}
}

func TestCancelUpload(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	u := a.beginUpload("in.jsonl", len(line))
	p := a.addPart(u.ID, line)
	for range 2 {
		got := decode[openai.Upload](t, a.json("POST", "/v1/uploads/"+u.ID+"/cancel", ""))
		if got.Status != "cancelled" || got.File != nil || got.ID != u.ID {
			t.Errorf("got %+v", got)
		}
	}
	refused{409, "", "", "Cannot complete an upload with status 'cancelled'."}.check(t, a.complete(u.ID, "", p.ID))
	refused{409, "", "", "Cannot add a part to an upload with status 'cancelled'."}.check(t, a.form("/v1/uploads/"+u.ID+"/parts", part{"data", "blob", "x"}))
	a.wantStored(1, 0) // the part, until it is collected
}

func TestUploadsOfOthersDoNotExist(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	u := a.beginUpload("in.jsonl", len(line))
	p := a.addPart(u.ID, line)
	gone := refused{404, "", "", "No upload found with id '" + u.ID + "'."}
	body, contentType := multipartOf(part{"data", "blob", line})
	gone.check(t, a.request("POST", "/v1/uploads/"+u.ID+"/parts", body, "Content-Type", contentType, tenantHeader, "other"))
	gone.check(t, a.json("POST", "/v1/uploads/"+u.ID+"/complete", `{"part_ids":["`+p.ID+`"]}`, tenantHeader, "other"))
	gone.check(t, a.json("POST", "/v1/uploads/"+u.ID+"/cancel", "", tenantHeader, "other"))
	a.wantStored(1, 0)
}

func TestRefusedUploadRequests(t *testing.T) {
	a := newAPI(t, upload.Limits{MaxUploadBytes: 1000})
	with := func(from, to string) string {
		return strings.Replace(`{"filename":"a.jsonl","purpose":"batch","bytes":5,"mime_type":"text/jsonl"}`, from, to, 1)
	}
	for _, c := range []struct {
		name, body string
		want       refused
	}{
		{"no filename", with(`"filename":"a.jsonl",`, ""), refused{400, "filename", "missing_required_parameter", "Missing required parameter: 'filename'."}},
		{"filename of dots", with("a.jsonl", "../.."), refused{400, "filename", "invalid_value", ""}},
		{"filename is a number", with(`"a.jsonl"`, "1"), refused{400, "filename", "invalid_type", ""}},
		{"no purpose", with(`"purpose":"batch",`, ""), refused{400, "purpose", "missing_required_parameter", ""}},
		{"unknown purpose", with(`"batch"`, `"x"`), refused{400, "purpose", "invalid_value", ""}},
		{"no bytes", with(`"bytes":5,`, ""), refused{400, "bytes", "missing_required_parameter", ""}},
		{"bytes are null", with(`5`, "null"), refused{400, "bytes", "missing_required_parameter", ""}},
		{"bytes are text", with(`5`, `"5"`), refused{400, "bytes", "invalid_type", "Invalid type for 'bytes': expected an integer, but got a string instead."}},
		{"bytes are a decimal", with(`5`, `5.5`), refused{400, "bytes", "invalid_type", "Invalid type for 'bytes': expected an integer, but got a decimal instead."}},
		{"no byte", with(`5`, `0`), refused{400, "bytes", "integer_below_min_value", ""}},
		{"negative bytes", with(`5`, `-5`), refused{400, "bytes", "integer_below_min_value", ""}},
		{"too many bytes", with(`5`, `1001`), refused{400, "bytes", "integer_above_max_value", ""}},
		{"no MIME type", with(`,"mime_type":"text/jsonl"`, ""), refused{400, "mime_type", "missing_required_parameter", ""}},
		{"expiry without seconds", with(`5`, `5,"expires_after":{"anchor":"created_at"}`), refused{400, "expires_after.seconds", "missing_required_parameter", ""}},
		{"expiry too long", with(`5`, `5,"expires_after":{"anchor":"created_at","seconds":2592001}`), refused{400, "expires_after.seconds", "integer_above_max_value", ""}},
		{"not JSON", "{", refused{400, "", "", "We could not parse the JSON body of your request."}},
		{"an array", "[]", refused{400, "", "invalid_type", ""}},
	} {
		t.Run(c.name, func(t *testing.T) { c.want.check(t, a.json("POST", "/v1/uploads", c.body)) })
	}
}

func TestRefusedParts(t *testing.T) {
	a := newAPI(t, upload.Limits{MaxPartBytes: 1000})
	u := a.beginUpload("in.jsonl", len(line))
	path := "/v1/uploads/" + u.ID + "/parts"
	for _, c := range []struct {
		name  string
		parts []part
		want  refused
	}{
		{"no data", []part{{"file", "blob", "x"}}, refused{400, "data", "missing_required_parameter", ""}},
		{"data twice", []part{{"data", "blob", "x"}, {"data", "blob", "x"}}, refused{400, "data", "invalid_value", ""}},
		{"data without a filename", []part{{"data", "", "x"}}, refused{400, "data", "invalid_type", ""}},
		{"empty", []part{{"data", "blob", ""}}, refused{400, "data", "invalid_value", ""}},
		{"too large", []part{{"data", "blob", strings.Repeat("x", 1001)}}, refused{413, "data", "", "The part is larger than the limit of 1000 bytes."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.check(t, a.form(path, c.parts...))
			a.wantStored(0, 0)
		})
	}
	refused{400, "", "unsupported_content_type", ""}.check(t, a.json("POST", path, "{}"))
	a.wantStored(0, 0)
}

func TestRefusedCompletions(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	u := a.beginUpload("in.jsonl", len(line))
	p, half, text := a.addPart(u.ID, line), a.addPart(u.ID, line[:40]), a.addPart(u.ID, strings.Repeat("x", len(line)))
	other := a.addPart(a.beginUpload("in.jsonl", len(line)).ID, line)
	for _, c := range []struct {
		name, body string
		want       refused
	}{
		{"no parts named", `{}`, refused{400, "part_ids", "missing_required_parameter", ""}},
		{"empty list", `{"part_ids":[]}`, refused{400, "part_ids", "empty_array", ""}},
		{"no list", `{"part_ids":"` + p.ID + `"}`, refused{400, "part_ids", "invalid_type", "Invalid type for 'part_ids': expected an array, but got a string instead."}},
		{"list of numbers", `{"part_ids":[1]}`, refused{400, "part_ids[0]", "invalid_type", ""}},
		{"part named twice", `{"part_ids":["` + p.ID + `","` + p.ID + `"]}`, refused{400, "part_ids[1]", "invalid_value", ""}},
		{"unknown part", `{"part_ids":["part_x"]}`, refused{400, "part_ids", "invalid_value", "Invalid 'part_ids': one of them is no part of upload " + u.ID}},
		{"part of another upload", `{"part_ids":["` + other.ID + `"]}`, refused{400, "part_ids", "invalid_value", ""}},
		{"too little", `{"part_ids":["` + half.ID + `"]}`, refused{400, "part_ids", "invalid_value", "Invalid 'part_ids': the parts add up to 40 bytes, but the upload is of 84."}},
		{"too much", `{"part_ids":["` + p.ID + `","` + half.ID + `"]}`, refused{400, "part_ids", "invalid_value", ""}},
		{"other checksum", `{"part_ids":["` + p.ID + `"],"md5":"d41d8cd98f00b204e9800998ecf8427e"}`, refused{400, "md5", "invalid_value", "Invalid 'md5': the content has the checksum "}},
		{"malformed checksum", `{"part_ids":["` + p.ID + `"],"md5":"x"}`, refused{400, "md5", "invalid_value", "Invalid 'md5': expected 32 hexadecimal digits."}},
		{"no requests in it", `{"part_ids":["` + text.ID + `"]}`, refused{400, "", "", "Invalid file format for Batch API."}},
		{"not JSON", `{`, refused{400, "", "", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.check(t, a.json("POST", "/v1/uploads/"+u.ID+"/complete", c.body))
			a.wantStored(4, 0) // the parts
		})
	}
	decode[openai.Upload](t, a.complete(u.ID, "", p.ID)) // it is still pending
}

// TestCompletedAtOnce completes an upload concurrently: it becomes one file, which every
// response has.
func TestCompletedAtOnce(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	u := a.beginUpload("in.jsonl", len(line))
	p := a.addPart(u.ID, line)
	answers := make([]reply, 4)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = a.complete(u.ID, "", p.ID) })
	}
	all.Wait()
	for _, r := range answers {
		if got := decode[openai.Upload](t, r); got.File == nil || string(r.body) != string(answers[0].body) {
			t.Errorf("got %s and %s", r.body, answers[0].body)
		}
	}
	a.wantStored(2, 1)
}

func TestUploadLimits(t *testing.T) {
	a := newAPI(t, upload.Limits{MaxOpenUploads: 2, MaxUploadParts: 2})
	first, second := a.beginUpload("a.jsonl", 10), a.beginUpload("b.jsonl", 10)
	const create = `{"filename":"c.jsonl","purpose":"batch","bytes":10,"mime_type":"application/jsonl"}`
	refused{429, "", "too_many_uploads", ""}.check(t, a.json("POST", "/v1/uploads", create))
	a.json("POST", "/v1/uploads/"+second.ID+"/cancel", "")
	a.beginUpload("c.jsonl", 10)

	a.addPart(first.ID, "a")
	a.addPart(first.ID, "b")
	refused{400, "data", "too_many_parts", ""}.check(t, a.form("/v1/uploads/"+first.ID+"/parts", part{"data", "blob", "c"}))
}

package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch/upload"
	"github.com/tidegate/tidegate/internal/openai"
)

const day = 24 * 60 * 60

func TestFileObject(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	r := a.form("/v1/files", part{"purpose", "", "batch"}, part{"file", "in.jsonl", line})
	f := decode[openai.File](t, r)
	if !strings.HasPrefix(f.ID, "file-") || f.CreatedAt < time.Now().Add(-time.Minute).Unix() {
		t.Errorf("got %+v", f)
	}
	expires := f.CreatedAt + 30*day
	want := openai.File{
		ID: f.ID, Object: "file", Bytes: int64(len(line)), CreatedAt: f.CreatedAt, ExpiresAt: &expires,
		Filename: "in.jsonl", Purpose: "batch", Status: "processed",
	}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("file (-want +got):\n%s", diff)
	}
	var keys map[string]any
	if err := json.Unmarshal(r.body, &keys); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"expires_at", "status_details"} {
		if _, ok := keys[key]; !ok {
			t.Errorf("%s is left out of %s", key, r.body)
		}
	}
	if diff := cmp.Diff(f, decode[openai.File](t, a.request("GET", "/v1/files/"+f.ID, ""))); diff != "" {
		t.Errorf("file read again (-want +got):\n%s", diff)
	}
	a.wantStored(1, 1)
}

func TestDeleteFile(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("batch", "in.jsonl", line)
	got := decode[openai.Deleted](t, a.request("DELETE", "/v1/files/"+f.ID, ""))
	if want := (openai.Deleted{ID: f.ID, Object: "file", Deleted: true}); got != want {
		t.Errorf("got %+v", got)
	}
	gone := refused{404, "id", "", "No such File object: " + f.ID}
	gone.check(t, a.request("GET", "/v1/files/"+f.ID, ""))
	gone.check(t, a.request("GET", "/v1/files/"+f.ID+"/content", ""))
	gone.check(t, a.request("DELETE", "/v1/files/"+f.ID, ""))
}

func TestFilesOfOthersDoNotExist(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	f := a.upload("batch", "in.jsonl", line)
	for _, path := range []string{"", "/content"} {
		refused{404, "id", "", "No such File object"}.check(t, a.request("GET", "/v1/files/"+f.ID+path, "", tenantHeader, "other"))
	}
	refused{404, "id", "", "No such File object"}.check(t, a.request("DELETE", "/v1/files/"+f.ID, "", tenantHeader, "other"))
	l := decode[openai.List[openai.File]](t, a.request("GET", "/v1/files", "", tenantHeader, "other"))
	if len(l.Data) != 0 {
		t.Errorf("another tenant sees %+v", l)
	}
}

func TestAcceptedUploads(t *testing.T) {
	purpose, file := part{"purpose", "", "batch"}, part{"file", "in.jsonl", line}
	anchor, seconds := part{"expires_after[anchor]", "", "created_at"}, part{"expires_after[seconds]", "", "3600"}
	for _, c := range []struct {
		name  string
		parts []part
		bytes int
		ttl   int64 // seconds, 0 for never
	}{
		{"purpose first", []part{purpose, file}, len(line), 30 * day},
		{"file first", []part{file, purpose}, len(line), 30 * day},
		{"no purpose", []part{file}, len(line), 30 * day},
		{"empty purpose", []part{{"purpose", "", ""}, file}, len(line), 30 * day},
		{"empty purpose behind the file", []part{file, {"purpose", "", ""}}, len(line), 30 * day},
		{"no purpose, with an expiry", []part{file, anchor, seconds}, len(line), 3600},
		{"expiry", []part{purpose, anchor, seconds, file}, len(line), 3600},
		{"expiry behind the file", []part{seconds, file, anchor, purpose}, len(line), 3600},
		{"expiry as one JSON object", []part{file, purpose, {"expires_after", "", `{"anchor":"created_at","seconds":2592000}`}}, len(line), 2592000},
		{"other purpose", []part{{"purpose", "", "user_data"}, {"file", "a.bin", "\x00\x01"}}, 2, 0},
		{"other purpose, empty", []part{{"purpose", "", "vision"}, {"file", "a.png", ""}}, 0, 0},
		{"other purpose with an expiry", []part{{"purpose", "", "evals"}, anchor, seconds, {"file", "a", "x"}}, 1, 3600},
		{"unknown fields", []part{{"x", "", "1"}, {"x", "", "2"}, file, {"y", "y.txt", "2"}, purpose}, len(line), 30 * day},
		{"one good line among bad ones", []part{purpose, {"file", "in.jsonl", "x\n\n" + line + "{\n"}}, len(line) + 5, 30 * day},
		{"JSON that is no request", []part{purpose, {"file", "in.jsonl", "[1]"}}, 3, 30 * day},
		{"BOM and CRLF", []part{purpose, {"file", "in.jsonl", "\xef\xbb\xbf{}\r\n"}}, 7, 30 * day},
		{"no newline at the end", []part{purpose, {"file", "in.jsonl", "{}"}}, 2, 30 * day},
		{"any extension", []part{purpose, {"file", "in.txt", line}}, len(line), 30 * day},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAPI(t, upload.Limits{})
			f := decode[openai.File](t, a.form("/v1/files", c.parts...))
			ttl := int64(0)
			if f.ExpiresAt != nil {
				ttl = *f.ExpiresAt - f.CreatedAt
			}
			if f.Bytes != int64(c.bytes) || ttl != c.ttl {
				t.Errorf("got %+v, living for %d s; want %d bytes, %d s", f, ttl, c.bytes, c.ttl)
			}
			a.wantStored(1, 1)
		})
	}
}

func TestRefusedUploads(t *testing.T) {
	purpose, file := part{"purpose", "", "batch"}, part{"file", "in.jsonl", line}
	expiry := func(anchor, seconds string) []part {
		return []part{purpose, {"expires_after[anchor]", "", anchor}, {"expires_after[seconds]", "", seconds}, file}
	}
	const (
		badFormat = "Invalid file format for Batch API. Must be .jsonl"
		utf16     = "The file is "
		convert   = ", but the Batch API reads UTF-8. Convert it, for example with: iconv -f "
	)
	all := newAPI(t, upload.Limits{MaxFileBytes: 4096, MaxLineBytes: 1000}) // nothing is stored, so one is enough
	for _, c := range []struct {
		name  string
		parts []part
		want  refused
	}{
		{"no file", []part{purpose}, refused{400, "file", "missing_required_parameter", "Missing required parameter: 'file'."}},
		{"no parts", nil, refused{400, "file", "missing_required_parameter", ""}},
		{"unknown purpose", []part{{"purpose", "", "x"}, file}, refused{400, "purpose", "invalid_value", "Invalid value: 'x'. Supported values are: 'assistants', "}},
		{"unknown purpose, behind the file", []part{file, {"purpose", "", "x"}}, refused{400, "purpose", "invalid_value", "Invalid value: 'x'."}},
		{"purpose of results", []part{{"purpose", "", "batch_output"}, file}, refused{400, "purpose", "invalid_value", ""}},
		{"purpose in capitals", []part{{"purpose", "", "Batch"}, file}, refused{400, "purpose", "invalid_value", ""}},
		{"two files", []part{purpose, file, file}, refused{400, "file", "invalid_value", "Invalid 'file': it is given more than once."}},
		{"two purposes", []part{purpose, file, purpose}, refused{400, "purpose", "invalid_value", ""}},
		{"file without a filename", []part{purpose, {"file", "", line}}, refused{400, "file", "invalid_type", "Invalid type for 'file': expected a file, but got a string instead."}},
		{"filename of dots", []part{purpose, {"file", "a/..", line}}, refused{400, "file", "invalid_value", ""}},
		{"filename of control characters", []part{purpose, {"file", "\x01\x02", line}}, refused{400, "", "", "We could not parse the multipart form of your request: the header of a part is malformed, for example by a control character in the name of the file."}},
		{"filename with an escape sequence", []part{purpose, {"file", "in\x1b[31m.jsonl", line}}, refused{400, "", "", "We could not parse the multipart form of your request: the header of a part is malformed, for example by a control character in the name of the file."}},
		{"filename of invisible characters", []part{purpose, {"file", "\u202e\u200b", line}}, refused{400, "file", "invalid_value", ""}},
		{"long filename", []part{purpose, {"file", strings.Repeat("ä", 256), line}}, refused{400, "file", "string_above_max_length", ""}},
		{"empty batch file", []part{purpose, {"file", "in.jsonl", ""}}, refused{400, "", "", badFormat}},
		{"blank batch file", []part{{"file", "in.jsonl", "\n \r\n\t\n"}, purpose}, refused{400, "", "", badFormat}},
		{"BOM alone", []part{purpose, {"file", "in.jsonl", "\xef\xbb\xbf"}}, refused{400, "", "", badFormat}},
		{"text", []part{purpose, {"file", "in.jsonl", "hello\nworld\n"}}, refused{400, "", "", badFormat}},
		{"UTF-16", []part{purpose, {"file", "in.jsonl", "\xff\xfe{\x00}\x00\n\x00"}}, refused{400, "file", "invalid_encoding", utf16 + "UTF-16 (little-endian)" + convert + "UTF-16 -t UTF-8."}},
		{"UTF-16 without a mark", []part{purpose, {"file", "in.jsonl", "{\x00}\x00\n\x00"}}, refused{400, "file", "invalid_encoding", utf16 + "UTF-16 (little-endian)" + convert + "UTF-16 -t UTF-8."}},
		{"UTF-16, big-endian", []part{purpose, {"file", "in.jsonl", "\xfe\xff\x00{\x00}\x00\n"}}, refused{400, "file", "invalid_encoding", utf16 + "UTF-16 (big-endian)" + convert + "UTF-16 -t UTF-8."}},
		{"UTF-32", []part{purpose, {"file", "in.jsonl", "\xff\xfe\x00\x00{\x00\x00\x00"}}, refused{400, "file", "invalid_encoding", utf16 + "UTF-32" + convert + "UTF-32 -t UTF-8."}},
		{"half a line", []part{purpose, {"file", "in.jsonl", line[:20]}}, refused{400, "", "", badFormat}},
		{"only lines that are too long", []part{purpose, {"file", "in.jsonl", `"` + strings.Repeat("x", 2000) + `"`}}, refused{400, "file", "invalid_value", "Line 1 of the file is longer than the limit of 1000 bytes, and no other line is JSON."}},
		{"binary", []part{purpose, {"file", "in.jsonl", strings.Repeat("\x00\xff\n", 300)}}, refused{400, "", "", badFormat}},
		{"file over the limit", []part{purpose, {"file", "in.jsonl", strings.Repeat(line, 100)}}, refused{413, "file", "", "The file is larger than the limit of 4096 bytes."}},
		{"far over the limit", []part{purpose, {"file", "in.jsonl", strings.Repeat(line, 100_000)}}, refused{413, "file", "", ""}},
		{"field over the limit", []part{{"purpose", "", strings.Repeat("x", 65<<10)}, file}, refused{413, "purpose", "", ""}},
		{"unknown field over the limit", []part{purpose, file, {"x", "x.bin", strings.Repeat("x", 65<<10)}}, refused{413, "x", "", ""}},
		{"too many parts", append([]part{purpose, file}, make65()...), refused{400, "", "", "We could not parse the multipart form of your request: it has too many parts."}},
		{"part without a name", []part{purpose, file, {"", "", "x"}}, refused{400, "", "", "We could not parse the multipart form of your request: a part has no name."}},
		{"no seconds", []part{purpose, file, {"expires_after[anchor]", "", "created_at"}}, refused{400, "expires_after[seconds]", "missing_required_parameter", ""}},
		{"no anchor", []part{purpose, file, {"expires_after[seconds]", "", "3600"}}, refused{400, "expires_after[anchor]", "missing_required_parameter", ""}},
		{"other anchor", expiry("now", "3600"), refused{400, "expires_after[anchor]", "invalid_value", "Invalid value: 'now'. Supported values are: 'created_at'."}},
		{"seconds are text", expiry("created_at", "soon"), refused{400, "expires_after[seconds]", "invalid_type", ""}},
		{"seconds are a decimal", expiry("created_at", "3600.5"), refused{400, "expires_after[seconds]", "invalid_type", ""}},
		{"too few seconds", expiry("created_at", "3599"), refused{400, "expires_after[seconds]", "integer_below_min_value", ""}},
		{"too many seconds", expiry("created_at", "2592001"), refused{400, "expires_after[seconds]", "integer_above_max_value", ""}},
		{"seconds beyond numbers", expiry("created_at", strings.Repeat("9", 50)), refused{400, "expires_after[seconds]", "integer_above_max_value", ""}},
		{"expiry as a number", []part{purpose, file, {"expires_after", "", "604800"}}, refused{400, "expires_after", "invalid_type", "Invalid type for 'expires_after': expected an object, but got an integer instead."}},
		{"expiry as text", []part{purpose, file, {"expires_after", "", "soon"}}, refused{400, "expires_after", "invalid_type", ""}},
		{"expiry twice", []part{purpose, file, {"expires_after[anchor]", "", "created_at"}, {"expires_after[anchor]", "", "created_at"}}, refused{400, "expires_after[anchor]", "invalid_value", ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := all.of(t)
			c.want.check(t, a.form("/v1/files", c.parts...))
			a.wantStored(0, 0)
		})
	}
}

func make65() []part {
	parts := make([]part, 65)
	for i := range parts {
		parts[i] = part{fmt.Sprint("p", i), "", "x"}
	}
	return parts
}

func TestMalformedForms(t *testing.T) {
	body, contentType := multipartOf(part{"purpose", "", "batch"}, part{"file", "in.jsonl", line})
	closing := strings.LastIndex(body, "\r\n--")
	boundary := strings.TrimPrefix(contentType, "multipart/form-data; boundary=")
	const unparsed = "We could not parse the multipart form of your request: "
	all := newAPI(t, upload.Limits{}) // nothing is stored, so one is enough
	for _, c := range []struct {
		name, contentType, body string
		want                    refused
	}{
		{"no content type", "", body, refused{400, "", "unsupported_content_type", "Unsupported content type: ''. This API method only accepts 'multipart/form-data' requests."}},
		{"JSON", "application/json", `{"purpose":"batch"}`, refused{400, "", "unsupported_content_type", "Unsupported content type: 'application/json'."}},
		{"URL-encoded", "application/x-www-form-urlencoded", "purpose=batch", refused{400, "", "unsupported_content_type", ""}},
		{"other multipart", "multipart/mixed; boundary=" + boundary, body, refused{400, "", "unsupported_content_type", ""}},
		{"malformed content type", "multipart/form-data; boundary", body, refused{400, "", "", unparsed}},
		{"no boundary", "multipart/form-data", body, refused{400, "", "", unparsed + "its Content-Type has no valid boundary."}},
		{"empty boundary", `multipart/form-data; boundary=""`, body, refused{400, "", "", unparsed + "its Content-Type has no valid boundary."}},
		{"long boundary", "multipart/form-data; boundary=" + strings.Repeat("x", 71), body, refused{400, "", "", unparsed + "its Content-Type has no valid boundary."}},
		{"other boundary", "multipart/form-data; boundary=other", body, refused{400, "", "", unparsed}},
		{"empty body", contentType, "", refused{400, "", "", unparsed + "it ends too early or is malformed."}},
		{"no closing boundary", contentType, body[:closing], refused{400, "", "", "The body of the request could not be read to its end."}},
		{"half a closing boundary", contentType, body[:closing+10], refused{400, "", "", ""}},
		{"closing boundary without its dashes", contentType, body[:len(body)-4], refused{400, "", "", unparsed}},
		{"ends in a header", contentType, body[:strings.Index(body, "name=")], refused{400, "", "", unparsed}},
		{"ends behind a boundary", contentType, body[:closing] + "\r\n--" + boundary + "\r\n", refused{400, "", "", unparsed}},
		{"long header", contentType, "--" + boundary + "\r\nX-Long: " + strings.Repeat("x", 64<<10) + "\r\n\r\nx\r\n" + body, refused{400, "", "", unparsed + "the header of a part is too long."}},
		{"many headers", contentType, "--" + boundary + "\r\n" + strings.Repeat("X-Many: x\r\n", 10_000) + "\r\nx\r\n" + body, refused{400, "", "", unparsed}},
		{"header without a colon", contentType, strings.Replace(body, "Content-Disposition:", "Content-Disposition", 1), refused{400, "", "", unparsed}},
		{"no disposition", contentType, strings.Replace(body, "Content-Disposition", "X-Disposition", 1), refused{400, "", "", unparsed + "a part has no name."}},
		{"other disposition", contentType, strings.Replace(body, "form-data;", "attachment;", 1), refused{400, "", "", unparsed + "a part has no name."}},
		{"malformed disposition", contentType, strings.Replace(body, `name="purpose"`, `name="purpose`, 1), refused{400, "", "", unparsed}},
		{"NUL in a header", contentType, strings.Replace(body, "form-data;", "form-\x00data;", 1), refused{400, "", "", unparsed}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := all.of(t)
			var headers []string
			if c.contentType != "" {
				headers = []string{"Content-Type", c.contentType}
			}
			c.want.check(t, a.request("POST", "/v1/files", c.body, headers...))
			a.wantStored(0, 0)
		})
	}
}

// TestTruncatedForms cuts a form at every byte.
func TestTruncatedForms(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	body, contentType := multipartOf(part{"file", "in.jsonl", line}, part{"purpose", "", "batch"})
	for n := range len(body) - len("\r\n") {
		r := a.request("POST", "/v1/files", body[:n], "Content-Type", contentType)
		if r.StatusCode != 400 {
			t.Errorf("cut at %d of %d: status %d", n, len(body), r.StatusCode)
		}
	}
	a.wantStored(0, 0)
	// The last line end may be missing.
	decode[openai.File](t, a.request("POST", "/v1/files", body[:len(body)-2], "Content-Type", contentType))
}

func TestPreambleAndEpilogueArePassedOver(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	body, contentType := multipartOf(part{"purpose", "", "batch"}, part{"file", "in.jsonl", line})
	f := decode[openai.File](t, a.request("POST", "/v1/files", "preamble\r\n"+body+"epilogue", "Content-Type", contentType))
	if f.Bytes != int64(len(line)) {
		t.Errorf("got %+v", f)
	}
}

func TestContentIsNotDecodedByPart(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	body, contentType := multipartOf(part{"purpose", "", "user_data"}, part{"file", "a.txt", "a=3Db=\r\n"})
	body = strings.Replace(body, `filename="a.txt"`, `filename="a.txt"`+"\r\nContent-Transfer-Encoding: quoted-printable", 1)
	f := decode[openai.File](t, a.request("POST", "/v1/files", body, "Content-Type", contentType))
	if got := a.request("GET", "/v1/files/"+f.ID+"/content", ""); string(got.body) != "a=3Db=\r\n" {
		t.Errorf("got %q", got.body)
	}
}

func TestListFiles(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	empty := a.request("GET", "/v1/files", "")
	if string(empty.body) != `{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}` {
		t.Errorf("empty list is %s", empty.body)
	}
	var ids []string
	for i := range 5 {
		ids = append(ids, a.upload([]string{"batch", "user_data"}[i%2], "in.jsonl", line).ID)
	}
	for _, c := range []struct {
		name, query string
		want        []int
		more        bool
	}{
		{"newest first", "", []int{4, 3, 2, 1, 0}, false},
		{"ascending", "?order=asc", []int{0, 1, 2, 3, 4}, false},
		{"limited", "?limit=2", []int{4, 3}, true},
		{"after", "?limit=2&after=" + ids[3], []int{2, 1}, true},
		{"last page", "?limit=3&after=" + ids[3], []int{2, 1, 0}, false},
		{"ascending after", "?order=asc&after=" + ids[3], []int{4}, false},
		{"by purpose", "?purpose=user_data", []int{3, 1}, false},
		{"by a purpose that nothing has", "?purpose=batch_output", nil, false},
		{"most", "?limit=10000", []int{4, 3, 2, 1, 0}, false},
		{"unknown parameters", "?x=1&y=2&y=3&order=desc&after=", []int{4, 3, 2, 1, 0}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := decode[openai.List[openai.File]](t, a.request("GET", "/v1/files"+c.query, ""))
			var got, want []string
			for _, f := range l.Data {
				got = append(got, f.ID)
			}
			for _, i := range c.want {
				want = append(want, ids[i])
			}
			if diff := cmp.Diff(want, got); diff != "" || l.HasMore != c.more {
				t.Errorf("more %t, ids (-want +got):\n%s", l.HasMore, diff)
			}
			if len(want) > 0 && (*l.FirstID != want[0] || *l.LastID != want[len(want)-1]) {
				t.Errorf("from %s to %s", *l.FirstID, *l.LastID)
			}
		})
	}
}

// TestDeletingWhatIsListed deletes all files while it lists them.
func TestDeletingWhatIsListed(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	for range 5 {
		a.upload("batch", "in.jsonl", line)
	}
	after, seen := "", 0
	for {
		l := decode[openai.List[openai.File]](t, a.request("GET", "/v1/files?limit=2&after="+after, ""))
		for _, f := range l.Data {
			seen++
			after = f.ID
			decode[openai.Deleted](t, a.request("DELETE", "/v1/files/"+f.ID, ""))
		}
		if !l.HasMore {
			break
		}
	}
	if seen != 5 {
		t.Errorf("saw %d of 5 files", seen)
	}
}

func TestRefusedQueries(t *testing.T) {
	a := newAPI(t, upload.Limits{})
	unknown := openai.NewID("file-")
	for _, c := range []struct {
		path string
		want refused
	}{
		{"/v1/files?limit=0", refused{400, "limit", "integer_below_min_value", "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead."}},
		{"/v1/files?limit=-1", refused{400, "limit", "integer_below_min_value", ""}},
		{"/v1/files?limit=10001", refused{400, "limit", "integer_above_max_value", "Invalid 'limit': integer above maximum value. Expected a value <= 10000, but got 10001 instead."}},
		{"/v1/files?limit=99999999999999999999", refused{400, "limit", "integer_above_max_value", ""}},
		{"/v1/files?limit=ten", refused{400, "limit", "invalid_type", "Invalid type for 'limit': expected an integer, but got a string instead."}},
		{"/v1/files?limit=1.5", refused{400, "limit", "invalid_type", ""}},
		{"/v1/files?limit=", refused{400, "limit", "invalid_type", ""}},
		{"/v1/files?limit=1&limit=2", refused{400, "limit", "invalid_value", "Invalid 'limit': it is given 2 times."}},
		{"/v1/files?order=up", refused{400, "order", "invalid_value", "Invalid value: 'up'. Supported values are: 'asc', and 'desc'."}},
		{"/v1/files?order=", refused{400, "order", "invalid_value", ""}},
		{"/v1/files?order=asc&order=asc", refused{400, "order", "invalid_value", ""}},
		{"/v1/files?purpose=x", refused{400, "purpose", "invalid_value", ""}},
		{"/v1/files?purpose=" + strings.Repeat("x", 5000), refused{400, "purpose", "invalid_value", ""}},
		{"/v1/files?after=" + unknown, refused{400, "after", "invalid_value", ""}},
		{"/v1/files?after=../../etc/passwd", refused{400, "after", "invalid_value", ""}},
		{"/v1/files?after=%00", refused{400, "after", "invalid_value", ""}},
		{"/v1/files?after=a&after=b", refused{400, "after", "invalid_value", ""}},
		{"/v1/files?limit=%zz", refused{400, "", "", "The query string of the URL could not be parsed."}},
		{"/v1/files?a;b", refused{400, "", "", ""}},
		{"/v1/batches?limit=0", refused{400, "limit", "integer_below_min_value", ""}},
		{"/v1/batches?limit=101", refused{400, "limit", "integer_above_max_value", ""}},
		{"/v1/batches?limit=x", refused{400, "limit", "invalid_type", ""}},
		{"/v1/batches?limit=5&limit=5", refused{400, "limit", "invalid_value", ""}},
		{"/v1/batches?after=" + openai.NewID("batch_"), refused{400, "after", "invalid_value", ""}},
		{"/v1/batches?after=" + unknown, refused{400, "after", "invalid_value", ""}},
		{"/v1/batches?after='%20OR%201=1", refused{400, "after", "invalid_value", ""}},
		{"/v1/batches?%", refused{400, "", "", ""}},
	} {
		t.Run(c.path[:min(len(c.path), 60)], func(t *testing.T) {
			c.want.check(t, a.request(http.MethodGet, c.path, ""))
		})
	}
}

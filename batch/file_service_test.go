package batch_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
)

func TestFileLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits batch.FileLimits
		want   string // in the error, "" for none
	}{
		"defaults":      {batch.FileLimits{}, ""},
		"larger":        {batch.FileLimits{MaxFileBytes: 8 << 30, MaxDecompressedBytes: 64 << 30}, ""},
		"file":          {batch.FileLimits{MaxFileBytes: -1}, "max_file_size"},
		"upload":        {batch.FileLimits{MaxUploadBytes: -1}, "max_upload_size"},
		"part":          {batch.FileLimits{MaxPartBytes: -1}, "max_part_size"},
		"decompressed":  {batch.FileLimits{MaxDecompressedBytes: -1}, "max_decompressed_size"},
		"line":          {batch.FileLimits{MaxLineBytes: -1}, "max_line_size"},
		"time to live":  {batch.FileLimits{BatchFileTTL: -time.Second}, "input_ttl"},
		"upload's time": {batch.FileLimits{UploadTTL: -time.Second}, "upload_ttl"},
	} {
		err := c.limits.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// TestRequestHash: the same for what means the same, and for nothing else.
func TestRequestHash(t *testing.T) {
	hash := func(body string) string {
		t.Helper()
		r, err := batch.ParseCreate([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return r.RequestHash
	}
	first := hash(`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"2"}}`)
	if first != hash(`{ "metadata":{"b":"2","a":"\u0031"}, "completion_window":"24h","endpoint":"/v1/embeddings","input_file_id":"f" }`) {
		t.Error("order and whitespace matter")
	}
	for _, other := range []string{
		`{"input_file_id":"g","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"2"}}`,
		`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"3"}}`,
		`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h"}`,
		`{"input_file_id":"f","endpoint":"/v1/embeddings","completion_window":"24h","metadata":{"a":"1","b":"2"},"x":1}`,
	} {
		if first == hash(other) {
			t.Errorf("the same hash as %s", other)
		}
	}
}

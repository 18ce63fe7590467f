package upload_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch/upload"
)

func TestFileLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits upload.Limits
		want   string // in the error, "" for none
	}{
		"defaults":      {upload.Limits{}, ""},
		"larger":        {upload.Limits{MaxFileBytes: 8 << 30, MaxDecompressedBytes: 64 << 30}, ""},
		"file":          {upload.Limits{MaxFileBytes: -1}, "max_file_size"},
		"upload":        {upload.Limits{MaxUploadBytes: -1}, "max_upload_size"},
		"part":          {upload.Limits{MaxPartBytes: -1}, "max_part_size"},
		"decompressed":  {upload.Limits{MaxDecompressedBytes: -1}, "max_decompressed_size"},
		"line":          {upload.Limits{MaxLineBytes: -1}, "max_line_size"},
		"time to live":  {upload.Limits{BatchFileTTL: -time.Second}, "input_ttl"},
		"upload's time": {upload.Limits{UploadTTL: -time.Second}, "upload_ttl"},
	} {
		err := c.limits.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

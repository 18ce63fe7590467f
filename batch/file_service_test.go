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

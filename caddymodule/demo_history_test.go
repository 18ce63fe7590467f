package caddymodule

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store/sqlite"
)

// The history covers the day before, and nothing of the present.
func TestMakeUpHistory(t *testing.T) {
	dir := t.TempDir()
	if err := makeUpHistory(t.Context(), dir, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	s := sqlite.New(sqlite.Config{Path: new(SQLiteStore).path(dir)})
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now, err := s.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		since time.Duration
		want  int // models × classes
	}{{25 * time.Hour, 4}, {0, 0}} {
		got, err := s.Usage(t.Context(), batch.DefaultTenant, now.Add(-tt.since))
		if err != nil || len(got) != tt.want {
			t.Errorf("since %s: got %d records, %v; want %d", tt.since, len(got), err, tt.want)
		}
		for _, r := range got {
			if r.Requests <= 0 || r.Usage.TotalTokens != r.Usage.InputTokens+r.Usage.OutputTokens {
				t.Errorf("got %+v, want requests and the sum of their tokens", r)
			}
		}
	}
}

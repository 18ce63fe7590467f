package scheduler

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/batch"
)

// commitStore is a store that is away for a time, and records the commits after that.
type commitStore struct {
	batch.Store
	back    time.Time
	tries   int
	commits [][]batch.SegmentWrite
}

func (s *commitStore) CommitResults(_ context.Context, writes []batch.SegmentWrite) ([]batch.SliceClaim, error) {
	s.tries++
	if time.Now().Before(s.back) {
		return nil, errors.New("away")
	}
	s.commits = append(s.commits, writes)
	return []batch.SliceClaim{writes[0].Claim}, nil
}

func claimOf(id string, number int) batch.SliceClaim {
	return batch.SliceClaim{SliceRef: batch.SliceRef{BatchID: id, Number: number}, Attempt: 1}
}

func resultOf(claim batch.SliceClaim, index, size int) finishedLine {
	return finishedLine{claim: claim, result: batch.LineResult{Index: index, Record: make([]byte, size)}}
}

func TestCommitGroups(t *testing.T) {
	for name, tt := range map[string]struct {
		results int
		size    int   // bytes of each
		groups  []int // results in each
	}{
		"none":                  {},
		"one group":             {10, 100, []int{10}},
		"more lines than fit":   {commitLines + 3, 1, []int{commitLines, 3}},
		"more bytes than fit":   {5, commitBytes / 2, []int{2, 2, 1}},
		"each is over the size": {2, commitBytes + 1, []int{1, 1}},
	} {
		c := newCommitter(nil, nil)
		for i := range tt.results {
			c.add(resultOf(claimOf("a", 1), i, tt.size))
		}
		if got, want := c.waiting(), int64(tt.results*tt.size); got != want {
			t.Errorf("%s: bytes that wait: got %d, want %d", name, got, want)
		}
		var groups []int
		for {
			group, ended := c.take()
			if ended {
				t.Errorf("%s: ended before finish: got true, want false", name)
			}
			if len(group) == 0 {
				break
			}
			groups = append(groups, len(group))
		}
		if diff := cmp.Diff(tt.groups, groups); diff != "" {
			t.Errorf("%s: results in each group (-want +got):\n%s", name, diff)
		}
		c.finish()
		if _, ended := c.take(); !ended || c.waiting() != 0 {
			t.Errorf("%s: after finish: got ended %v, %d bytes, want true, 0", name, ended, c.waiting())
		}
	}
}

func TestSegments(t *testing.T) {
	a, b := claimOf("a", 1), claimOf("b", 1)
	got := segments([]finishedLine{resultOf(b, 0, 1), resultOf(a, 5, 1), resultOf(b, 1, 1)})
	want := []batch.SegmentWrite{
		{Claim: b, Lines: []batch.LineResult{resultOf(b, 0, 1).result, resultOf(b, 1, 1).result}},
		{Claim: a, Lines: []batch.LineResult{resultOf(a, 5, 1).result}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("segments (-want +got):\n%s", diff)
	}
}

// While the store is away results are held, and tried again with a growing pause. They are
// committed as soon as it is back, and the committer ends after the last.
func TestCommitterHoldsResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const away = time.Minute
		store := &commitStore{back: time.Now().Add(away)}
		var stale []batch.SliceClaim
		c := newCommitter(&Dependencies{Store: store, Health: healthy{}}, func(_ []finishedLine, s []batch.SliceClaim) { stale = append(stale, s...) })
		c.add(resultOf(claimOf("a", 1), 0, 1))
		begin := time.Now()
		c.finish()
		c.run(t.Context())
		if took := time.Since(begin); took < away || took > away+commitBackoffMax {
			t.Errorf("committed after %s, want within %s after %s", took, commitBackoffMax, away)
		}
		if most := 10 + int(away/commitBackoffMax); store.tries > most {
			t.Errorf("tries: got %d, want at most %d", store.tries, most)
		}
		if len(store.commits) != 1 || !cmp.Equal(stale, []batch.SliceClaim{claimOf("a", 1)}) {
			t.Errorf("got %d commits, stale claims %v, want 1, and that of a", len(store.commits), stale)
		}
	})
}

// A committer whose context ends gives up.
func TestCommitterGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &commitStore{back: time.Now().Add(time.Hour)}
		c := newCommitter(&Dependencies{Store: store, Health: healthy{}}, func([]finishedLine, []batch.SliceClaim) { t.Error("committed, want not") })
		c.add(resultOf(claimOf("a", 1), 0, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begin := time.Now()
		c.run(ctx)
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("gave up after %s, want 10s", took)
		}
	})
}

package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate/batch"
)

// FailureGroup is a number of lines that failed alike.
type FailureGroup struct {
	Status   int    // of the HTTP answer, 0 if there was none
	Message  string // with "…" for what differs from line to line
	Lines    int64
	Examples []Line // the first, at most failureExamples
}

// Failures holds the failed lines of a batch, grouped by cause.
type Failures struct {
	Groups []FailureGroup // the most frequent first
	// Looked counts the failed lines, from the first of the batch, that are in Groups.
	Looked int64
}

const (
	failureExamples = 3
	failurePages    = 4 // limits the pages of lines that are read, with MaxLines at most each
)

// Failures groups the first few thousand failed lines of a batch. The error is
// that of Lines.
func (r *lineReader) Failures(ctx context.Context, tenant, id string) (Failures, error) {
	groups := make(map[string]*FailureGroup)
	var f Failures
	q := LineQuery{State: LineFailed, Limit: MaxLines}
	for range failurePages {
		page, err := r.Lines(ctx, tenant, id, q)
		if err != nil {
			return Failures{}, err
		}
		for _, l := range page.Lines {
			f.Looked++
			addFailure(groups, l)
		}
		if !page.More {
			break
		}
		q.After = page.After
	}
	for _, g := range slices.SortedFunc(maps.Values(groups), func(a, b *FailureGroup) int {
		return cmp.Or(cmp.Compare(b.Lines, a.Lines), cmp.Compare(a.Examples[0].Number, b.Examples[0].Number))
	}) {
		f.Groups = append(f.Groups, *g)
	}
	return f, nil
}

func addFailure(groups map[string]*FailureGroup, l Line) {
	message := batch.SimilarMessage(l.Message)
	key := strconv.Itoa(l.Status) + " " + message
	g := groups[key]
	if g == nil {
		g = &FailureGroup{Status: l.Status, Message: message}
		groups[key] = g
	}
	g.Lines++
	if len(g.Examples) < failureExamples {
		g.Examples = append(g.Examples, l)
	}
}

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sort"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
)

// lineReader reads lines of batches and their results.
type lineReader struct{ *parts }

// Lines returns a page of the lines of a batch: from committed results while it runs, and
// from its index after its end. It returns ErrNotFound for an unknown batch and a
// *batch.StateError if its results no longer exist.
func (r *lineReader) Lines(ctx context.Context, tenant, id string, q LineQuery) (LinePage, error) {
	q.Limit = min(max(q.Limit, 1), MaxLines)
	q.After = max(q.After, 0)
	var p pager
	begin := func() *pager { // again, when the batch ends meanwhile
		p = pager{query: q, page: LinePage{After: q.After}}
		return &p
	}
	err := r.withLines(ctx, tenant, id,
		func(b batch.Batch) error { return r.runningLines(ctx, b, begin()) },
		func(_ batch.Batch, x *lineIndex) error { return endedLines(ctx, x, begin()) })
	return p.page, err
}

// Line returns one line with its request and result, and ErrNotFound for an unknown batch
// or line.
func (r *lineReader) Line(ctx context.Context, tenant, id string, number int) (LineDetail, error) {
	var d LineDetail
	err := r.withLines(ctx, tenant, id,
		func(b batch.Batch) (err error) { d, err = r.runningLine(ctx, b, number); return err },
		func(b batch.Batch, x *lineIndex) (err error) { d, err = r.endedLine(ctx, b, x, number); return err })
	return d, err
}

// errMoved reports that slices no longer exist because the batch has just ended.
var errMoved = errors.New("batch ended meanwhile")

// withLines calls running or ended, whichever is right for the batch.
func (r *lineReader) withLines(ctx context.Context, tenant, id string, running func(batch.Batch) error, ended func(batch.Batch, *lineIndex) error) error {
	for {
		b, err := r.store.Batch(ctx, tenant, id)
		switch {
		case err != nil:
			return err
		case b.Status == batch.Failed:
			return ended(b, &lineIndex{reader: r}) // it has no lines
		case !b.Status.Terminal():
			if err := running(b); !errors.Is(err, errMoved) {
				return err
			}
			continue
		}
		x, err := r.indexOf(ctx, b)
		if err != nil {
			return err
		}
		return ended(b, x)
	}
}

// indexOf opens the index of a batch that has ended.
func (r *lineReader) indexOf(ctx context.Context, b batch.Batch) (*lineIndex, error) {
	if b.IndexFileID == "" {
		if b.Counts.Total == 0 {
			return &lineIndex{reader: r}, nil
		}
		return nil, &batch.StateError{BatchID: b.ID, Err: batch.ErrNoIndex}
	}
	f, err := r.store.File(ctx, batch.IndexTenant(b.Tenant), b.IndexFileID)
	if err == nil {
		var x *lineIndex
		if x, err = r.openIndex(ctx, f); err == nil {
			return x, nil
		}
	}
	if errors.Is(err, batch.ErrNotFound) {
		return nil, &batch.StateError{BatchID: b.ID, Err: batch.ErrResultsGone}
	}
	return nil, fmt.Errorf("opening index of lines: %w", err)
}

// endedLines fills a page from an index.
func endedLines(ctx context.Context, x *lineIndex, p *pager) error {
	first := x.find(p.query.After)
	for i, s := range x.slices[first:] {
		if p.full() {
			p.page.More = true
			return nil
		}
		if !p.wants(s.pending() > 0, s.completed > 0, s.failed > 0) {
			p.skip(s.plan)
			continue
		}
		p.reads++
		lines, err := x.lines(ctx, s)
		if err != nil {
			return fmt.Errorf("reading index of lines: %w", err)
		}
		for _, l := range lines {
			if !p.take(l.Line) {
				p.page.More = true
				return nil
			}
		}
		p.page.More = first+i+1 < len(x.slices)
	}
	p.page.More = false
	return nil
}

// find returns the index of the slice that has the line after the given one, or the number
// of slices.
func (x *lineIndex) find(after int) int {
	return sort.Search(len(x.slices), func(i int) bool {
		s := x.slices[i].plan
		return s.FirstLine+s.Lines > after
	})
}

// runningLines fills a page from slices and segments.
func (r *lineReader) runningLines(ctx context.Context, b batch.Batch, p *pager) error {
	inputKey := ""
	first, err := r.sliceOf(ctx, b.ID, p.query.After)
	if err != nil {
		return err
	}
	for listed := 0; ; listed++ {
		plans, err := r.store.Slices(ctx, b.ID, first, finalizeSlices)
		if err != nil {
			return fmt.Errorf("listing slices: %w", err)
		}
		if len(plans) == 0 {
			p.page.More = false
			if p.page.After < int(b.Counts.Total) {
				return r.moved(ctx, b)
			}
			return nil
		}
		for _, s := range plans {
			if p.full() || listed == sliceReads {
				p.page.More = true
				return nil
			}
			done := bits.OnesCount64(s.Done)
			if !p.wants(done < s.Lines, done > 0, done > 0) {
				p.skip(s.SlicePlan)
				continue
			}
			p.reads++
			lines, err := r.sliceLines(ctx, b, s, &inputKey)
			if err != nil {
				return err
			}
			for _, l := range lines {
				if !p.take(l) {
					p.page.More = true
					return nil
				}
			}
		}
		first = plans[len(plans)-1].Number + 1
		p.page.More = p.page.After < int(b.Counts.Total)
		if p.full() {
			return nil
		}
	}
}

// errResultsGone would be a broken invariant: a result is there until its batch
// has ended.
var errResultsGone = errors.New("results of a slice are missing, but its batch is not deleted")

// resultsOf returns the results of a slice of a running batch, at least those that existed
// when it was listed.
func (r *lineReader) resultsOf(ctx context.Context, b batch.Batch, s batch.Slice) ([]batch.LineResult, error) {
	results, err := r.store.Results(ctx, s.SliceRef)
	if err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	if len(results) < bits.OnesCount64(s.Done) {
		return nil, cmpErr(r.moved(ctx, b), errResultsGone)
	}
	return results, nil
}

// moved returns errMoved if a batch without slices has just ended.
func (r *lineReader) moved(ctx context.Context, b batch.Batch) error {
	now, err := r.store.Batch(ctx, b.Tenant, b.ID)
	if err == nil && now.Status.Terminal() {
		err = errMoved
	}
	return err
}

// sliceOf finds the slice that has the line behind after. Slices have 1 to
// SliceLines lines, so it is not before after/SliceLines, and mostly there.
func (r *lineReader) sliceOf(ctx context.Context, batchID string, after int) (int, error) {
	low := after / batch.SliceLines // begins with the line or before it
	begins := func(number int) (bool, error) {
		s, err := r.store.Slices(ctx, batchID, number, 1)
		if err != nil {
			return false, fmt.Errorf("looking for a slice: %w", err)
		}
		return len(s) > 0 && s[0].FirstLine <= after, nil
	}
	// In doubling steps, and back in halving ones.
	step := 1
	for ; ; step *= 2 {
		ok, err := begins(low + step)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		low += step
	}
	for step /= 2; step > 0; step /= 2 {
		ok, err := begins(low + step)
		if err != nil {
			return 0, err
		}
		if ok {
			low += step
		}
	}
	return low, nil
}

// sliceLines returns the lines of a slice of a running batch.
func (r *lineReader) sliceLines(ctx context.Context, b batch.Batch, s batch.Slice, inputKey *string) ([]Line, error) {
	results, err := r.resultsOf(ctx, b, s)
	if err != nil {
		return nil, err
	}
	var requests []openai.Request
	if len(results) < s.Lines {
		if *inputKey == "" {
			input, err := r.store.InputFile(ctx, b.ID)
			if err != nil {
				return nil, fmt.Errorf("finding input file: %w", err)
			}
			*inputKey = input.Key
		}
		if requests, err = batch.ReadRequests(ctx, r.files, b.Endpoint, *inputKey, s.SlicePlan, r.config().MaxLineBytes); err != nil {
			return nil, fmt.Errorf("reading requests: %w", err)
		}
	}
	lines := make([]Line, s.Lines)
	for i := range lines {
		if len(results) > 0 && results[0].Index == i {
			lines[i] = lineOf(results[0], s.FirstLine+i+1)
			results = results[1:]
		} else {
			lines[i] = Line{Number: s.FirstLine + i + 1, CustomID: requests[i].CustomID, State: LinePending}
		}
	}
	return lines, nil
}

// runningLine returns a line of a running batch.
func (r *lineReader) runningLine(ctx context.Context, b batch.Batch, number int) (LineDetail, error) {
	if number < 1 || number > int(b.Counts.Total) {
		return LineDetail{}, batch.ErrNotFound
	}
	at, err := r.sliceOf(ctx, b.ID, number-1)
	if err != nil {
		return LineDetail{}, err
	}
	found, err := r.store.Slices(ctx, b.ID, at, 1)
	if err != nil {
		return LineDetail{}, fmt.Errorf("reading slice: %w", err)
	}
	if len(found) == 0 {
		return LineDetail{}, cmpErr(r.moved(ctx, b), batch.ErrNotFound)
	}
	s, i := found[0], number-1-found[0].FirstLine
	var d LineDetail
	if d.Input, err = r.inputLine(ctx, b, s.SlicePlan, i); err != nil {
		return LineDetail{}, err
	}
	results, err := r.resultsOf(ctx, b, s)
	if err != nil {
		return LineDetail{}, err
	}
	if n := slices.IndexFunc(results, func(r batch.LineResult) bool { return r.Index == i }); n >= 0 {
		d.Line, d.Result = lineOf(results[n], number), results[n].Record
		return d, nil
	}
	d.Line = Line{Number: number, CustomID: openai.ScanCustomID(d.Input), State: LinePending}
	return d, nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// endedLine returns a line of a batch that has ended.
func (r *lineReader) endedLine(ctx context.Context, b batch.Batch, x *lineIndex, number int) (LineDetail, error) {
	at := x.find(number - 1)
	if number < 1 || at == len(x.slices) {
		return LineDetail{}, batch.ErrNotFound
	}
	s := x.slices[at]
	lines, err := x.lines(ctx, s)
	if err != nil {
		return LineDetail{}, fmt.Errorf("reading index of lines: %w", err)
	}
	i := number - 1 - s.plan.FirstLine
	l := lines[i]
	d := LineDetail{Line: l.Line}
	if d.Input, err = r.inputLine(ctx, b, s.plan, i); err != nil {
		return LineDetail{}, err
	}
	id := b.OutputFileID
	if l.failed {
		id = b.ErrorFileID
	}
	f, err := r.store.File(ctx, b.Tenant, id)
	if err == nil {
		d.Result, err = r.readRange(ctx, f.Key, l.offset, l.length)
	}
	if errors.Is(err, batch.ErrNotFound) { // deleted by the client
		return d, nil
	}
	return d, err
}

// inputLine reads line i of a slice of the input, nil when that is gone.
func (r *lineReader) inputLine(ctx context.Context, b batch.Batch, p batch.SlicePlan, i int) ([]byte, error) {
	input, err := r.store.InputFile(ctx, b.ID)
	if errors.Is(err, batch.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("finding input file: %w", err)
	}
	content, err := r.files.Read(ctx, input.Key, p.Offset, p.Length)
	if errors.Is(err, batch.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading input file: %w", err)
	}
	defer content.Close()
	lines := openai.NewLineReader(content, int(p.Length))
	for ; ; i-- {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil, batch.ErrInputChanged
		}
		if err != nil {
			return nil, fmt.Errorf("reading input file: %w", err)
		}
		if i == 0 {
			return bytes.Clone(line.Bytes), nil
		}
	}
}

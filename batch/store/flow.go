package store

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// ModelFlow is the increment of a group commit for the current minute of a model.
type ModelFlow struct {
	Model             string
	Lines             int64
	Shortest, Longest time.Duration // of the lines' last attempts
}

// ModelDone is the number of lines of a model that a group commit adds to a batch
// with several models.
type ModelDone struct {
	Row   int64 // of the batch
	Model string
	Lines int64
}

// flowSums sums the increments of a group commit by model.
type flowSums struct {
	flow map[string]ModelFlow
	done map[ModelDone]int64 // by Row and Model
}

func newFlowSums() *flowSums {
	return &flowSums{make(map[string]ModelFlow), make(map[ModelDone]int64)}
}

// add counts a line of a batch.
func (s *flowSums) add(b *CommitBatch, l batch.LineResult) {
	s.addTo(l.Model, l)
	if b.Model == "" && l.Model != "" {
		s.addTo("", l)
		s.done[ModelDone{Row: b.Row, Model: l.Model}]++
	}
}

func (s *flowSums) addTo(model string, l batch.LineResult) {
	took := max(l.Duration, 0)
	f, seen := s.flow[model]
	if !seen {
		f = ModelFlow{Model: model, Shortest: took, Longest: took}
	}
	f.Lines++
	f.Shortest, f.Longest = min(f.Shortest, took), max(f.Longest, took)
	s.flow[model] = f
}

// sorted returns the sums in the order of their keys, in which all gateways lock them.
func (s *flowSums) sorted() (flow []ModelFlow, done []ModelDone) {
	flow = slices.SortedFunc(maps.Values(s.flow), func(a, b ModelFlow) int { return cmp.Compare(a.Model, b.Model) })
	for d, lines := range s.done {
		d.Lines = lines
		done = append(done, d)
	}
	slices.SortFunc(done, func(a, b ModelDone) int { return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Model, b.Model)) })
	return flow, done
}

// First returns the time at which the first of the lines that end now was sent, in
// the stored format.
func (f ModelFlow) First(now time.Time) int64 { return Micros(now.Add(-f.Longest)) }

// Began returns the time at which the last of them was sent.
func (f ModelFlow) Began(now time.Time) int64 { return Micros(now.Add(-f.Shortest)) }

// ScanModelMinute scans model, minute, lines, first_at, began_at and last_at.
func ScanModelMinute(r Row) (m batch.ModelMinute, err error) {
	err = r.Scan(&m.Model, timeIn{&m.At}, &m.Lines, timeIn{&m.First}, timeIn{&m.Began}, timeIn{&m.Last})
	return m, err
}

// ScanBatchModel scans id, model, lines and done.
func ScanBatchModel(r Row) (m batch.BatchModel, err error) {
	err = r.Scan(&m.BatchID, &m.Model, &m.Lines, &m.Done)
	return m, err
}

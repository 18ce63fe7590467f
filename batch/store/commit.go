package store

import (
	"fmt"
	"math/bits"
	"slices"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/openai"
	"github.com/tidegate/tidegate/internal/saturate"
)

// CommitBatch is the part of a batch that a group commit reads and changes.
type CommitBatch struct {
	ID               string
	Row              int64 // the driver's own key
	Tenant, Endpoint string
	KeyID            string
	Model            string // "" when its lines name several
	Status, Ending   batch.Status
	Counts           openai.RequestCounts
	Usage            openai.Usage
	Cost             batch.Money
	Unpriced         int64
	// Fresh are the lines that the commit adds.
	Fresh struct{ Completed, Failed int64 }
}

// takesResults reports whether claims on slices of the batch are valid. After
// the last line is done no result is added, but the commit of that line may be
// repeated and is not stale.
func (b *CommitBatch) takesResults() bool {
	return b.Status == batch.InProgress || b.Ending == batch.Completed
}

// CommitSlice is the part of a slice that a group commit reads and changes.
type CommitSlice struct {
	Batch                  *CommitBatch
	Number, Attempt, Lines int
	Done                   uint64
	Kept                   uint64 // lines that a former claim still holds
	KeptAttempt            int    // attempt of the former claim
}

// ByRef indexes slices by their references. Slices of one batch share its CommitBatch.
func ByRef(found []*CommitSlice) map[batch.SliceRef]*CommitSlice {
	known := make(map[batch.SliceRef]*CommitSlice, len(found))
	batches := make(map[int64]*CommitBatch)
	for _, s := range found {
		if b := batches[s.Batch.Row]; b != nil {
			s.Batch = b
		}
		batches[s.Batch.Row] = s.Batch
		known[batch.SliceRef{BatchID: s.Batch.ID, Number: s.Number}] = s
	}
	return known
}

// Named returns the slices of a group of writes, without duplicates.
func Named(writes []batch.SegmentWrite) []batch.SliceRef {
	seen := make(map[batch.SliceRef]bool, len(writes))
	var refs []batch.SliceRef
	for _, w := range writes {
		if ref := w.Claim.SliceRef; !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	return refs
}

// Left returns the number of lines without a committed result.
func (s *CommitSlice) Left() int { return s.Lines - bits.OnesCount64(s.Done) }

// Stale reports whether a claim holds no line. s is nil if the slice does not
// exist.
func Stale(c batch.SliceClaim, s *CommitSlice) bool {
	return s == nil || s.heldBy(c) == 0 || !s.Batch.takesResults()
}

// heldBy returns the lines that may be written under a claim.
func (s *CommitSlice) heldBy(c batch.SliceClaim) uint64 {
	switch c.Attempt {
	case s.Attempt:
		return ^uint64(0)
	case s.KeptAttempt:
		return s.Kept
	default:
		return 0
	}
}

// refuses reports whether a write is refused. A write is refused as a whole,
// because another claim will write the lines that its claim does not hold.
func (s *CommitSlice) refuses(w batch.SegmentWrite) bool {
	if Stale(w.Claim, s) {
		return true
	}
	held := s.heldBy(w.Claim)
	return slices.ContainsFunc(w.Lines, func(l batch.LineResult) bool { return s.has(l.Index) && held&(1<<l.Index) == 0 })
}

// has reports whether the slice has a line.
func (s *CommitSlice) has(index int) bool { return index >= 0 && index < s.Lines }

// Segment is a row to insert.
type Segment struct {
	Slice  *CommitSlice
	Number int // unique and rising within the slice
	Data   []byte
	Info   []byte // see EncodeInfo
}

// Commit is the effect of a group of writes.
type Commit struct {
	Stale    []batch.SliceClaim
	Segments []Segment
	Slices   []*CommitSlice // changed slices, with their new state
	// Batches are the changed batches, with their new state. A batch whose
	// last line is done has become Finalizing.
	Batches []*CommitBatch
	Usage   []batch.UsageRecord
	Flow    []ModelFlow // in the order of models
	Done    []ModelDone // in the order of batches and models
}

// PlanCommit computes a group commit. known has the slices of the writes as they
// are in the database; missing slices do not exist. PlanCommit changes the
// slices and their batches.
func PlanCommit(writes []batch.SegmentWrite, known map[batch.SliceRef]*CommitSlice) (Commit, error) {
	var (
		c       Commit
		stale   = make(map[batch.SliceClaim]bool)
		changed = make(map[*CommitSlice]bool)
		grown   = make(map[*CommitBatch]bool)
		cells   = make(map[batch.UsageCell]int)
		sums    = newFlowSums()
	)
	for _, w := range writes {
		s := known[w.Claim.SliceRef]
		if s.refuses(w) {
			if !stale[w.Claim] {
				stale[w.Claim] = true
				c.Stale = append(c.Stale, w.Claim)
			}
			continue
		}
		number := bits.OnesCount64(s.Done)
		fresh := make([]batch.LineResult, 0, len(w.Lines))
		for _, l := range w.Lines {
			if !s.has(l.Index) {
				return Commit{}, fmt.Errorf("slice %d of %s has no line %d", w.Claim.Number, w.Claim.BatchID, l.Index)
			}
			if s.Done&(1<<l.Index) != 0 {
				continue
			}
			s.Done |= 1 << l.Index
			fresh = append(fresh, l)
			sums.add(s.Batch, l)
			r := s.Batch.count(l)
			cell := r.Cell()
			at, seen := cells[cell]
			if !seen {
				cells[cell] = len(c.Usage)
				c.Usage = append(c.Usage, r)
				continue
			}
			c.Usage[at].Add(r)
		}
		if len(fresh) == 0 {
			continue
		}
		c.Segments = append(c.Segments, Segment{Slice: s, Number: number, Data: EncodeSegment(fresh), Info: EncodeInfo(fresh)})
		if !changed[s] {
			changed[s] = true
			c.Slices = append(c.Slices, s)
		}
		if !grown[s.Batch] {
			grown[s.Batch] = true
			c.Batches = append(c.Batches, s.Batch)
		}
	}
	for _, b := range c.Batches {
		if b.Counts.Completed+b.Counts.Failed == b.Counts.Total {
			b.Status, b.Ending = batch.Finalizing, batch.Completed
		}
	}
	c.Flow, c.Done = sums.sorted()
	return c, nil
}

// count counts a line and returns its increment of usage.
func (b *CommitBatch) count(l batch.LineResult) batch.UsageRecord {
	r := batch.UsageRecord{
		Tenant: b.Tenant, Class: batch.ClassBatch, Model: l.Model, Endpoint: b.Endpoint, Requests: 1, Usage: l.Usage,
		KeyID: b.KeyID, Cost: l.Charge.Cost,
	}
	if l.Charge.Unpriced {
		r.Unpriced = 1
	}
	b.Cost = b.Cost.Plus(r.Cost)
	b.Unpriced = saturate.Add(b.Unpriced, r.Unpriced)
	if l.Failed {
		b.Counts.Failed++
		b.Fresh.Failed++
		r.Failures = 1
	} else {
		b.Counts.Completed++
		b.Fresh.Completed++
	}
	b.Usage.Add(l.Usage)
	return r
}

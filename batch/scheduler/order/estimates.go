package order

import (
	"math"
	"slices"
)

const (
	// estimateTrust is the number of lines of a group that count as much as all lines
	// of the batch. Half as much is no better, see bench/results/README.md.
	estimateTrust = 4
	// estimateGroups limits the groups that are remembered, to about 64 KiB.
	estimateGroups = 512
)

// profiled are the places in beginnings of the two by which lines are grouped.
var profiled = [2]int{0, slices.Index(beginnings, 16*sharedBytes)}

// Profile describes a line by what the length of its answer is predicted from: its limit,
// and the beginnings of its prompt.
type Profile struct {
	beginnings [len(profiled)]uint32 // hashes; 0 if the prompt is shorter
	limit      int32                 // 0: none
}

// profileOf returns the profile of a line.
func profileOf(p prefix, limit int) Profile {
	profile := Profile{limit: int32(min(limit, math.MaxInt32))}
	for i, beginning := range profiled {
		profile.beginnings[i] = p.hash(beginning)
	}
	return profile
}

// groups calls f with the key of each group that a line belongs to, the largest first.
func (p Profile) groups(f func(key uint64)) {
	f(uint64(uint32(p.limit)))
	for _, beginning := range p.beginnings {
		if beginning != 0 {
			f(uint64(beginning)<<32 | uint64(uint32(p.limit)))
		}
	}
}

// Estimates predicts how many tokens lines generate, from their limits and from the lines
// of the batch that have ended. A group is the lines with the same limit whose prompts
// begin alike. The fewer lines of a group have ended, the more its estimate is that of the
// larger group that contains it. The zero value knows the limits alone.
type Estimates struct {
	ended           int     // lines
	tokens          float64 // that these generated
	limited, limits float64 // of the lines with a limit: tokens generated, and limits

	groups, older map[uint64]groupSum // older is replaced by groups when that is full
}

// groupSum is the lines of a group that have ended.
type groupSum struct{ lines, tokens float64 }

// add adds a line that has ended.
func (e *Estimates) add(p Profile, tokens int) {
	e.ended++
	e.tokens += float64(tokens)
	if p.limit > 0 {
		e.limited += float64(tokens)
		e.limits += float64(p.limit)
	}
	p.groups(func(key uint64) {
		sum := e.group(key)
		if e.groups == nil || len(e.groups) >= estimateGroups {
			e.groups, e.older = make(map[uint64]groupSum), e.groups
		}
		e.groups[key] = groupSum{sum.lines + 1, sum.tokens + float64(tokens)}
	})
}

func (e *Estimates) group(key uint64) groupSum {
	if sum, known := e.groups[key]; known {
		return sum
	}
	return e.older[key]
}

// of returns the expected tokens of a line, 0 if nothing is known.
func (e *Estimates) of(p Profile) int32 {
	if e.ended == 0 {
		return p.limit
	}
	expected := e.tokens / float64(e.ended)
	if p.limit > 0 {
		expected = float64(p.limit) * e.ratio()
	}
	p.groups(func(key uint64) {
		sum := e.group(key)
		expected = (sum.tokens + estimateTrust*expected) / (sum.lines + estimateTrust)
	})
	return int32(min(math.MaxInt32, math.Ceil(expected)))
}

// ratio returns what part of their limits lines generate.
func (e *Estimates) ratio() float64 {
	if e.limits == 0 {
		return 1
	}
	return e.limited / e.limits
}

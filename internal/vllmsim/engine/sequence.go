package engine

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

// bytesPerToken is the tokenization: the prompt's bytes, four to a token.
const bytesPerToken = 4

// Prompt is a tokenized prompt.
type Prompt struct {
	Tokens int
	hashes []uint64 // of each full block with all before it
}

var hashSeed = maphash.MakeSeed()

// NewPrompt tokenizes a prompt that consists of parts, read as one text.
func NewPrompt(blockSize int, parts ...[]byte) Prompt {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	size, room := 0, blockSize*bytesPerToken
	var p Prompt
	for _, part := range parts {
		size += len(part)
		for len(part) >= room {
			_, _ = h.Write(part[:room]) // a hash never fails
			part, room = part[room:], blockSize*bytesPerToken
			p.hashes = append(p.hashes, h.Sum64()) // not reset: a chain
		}
		_, _ = h.Write(part)
		room -= len(part)
	}
	p.Tokens = max(1, (size+bytesPerToken-1)/bytesPerToken)
	if len(p.hashes) < p.Tokens/blockSize { // the last token is not whole
		p.hashes = append(p.hashes, h.Sum64())
	}
	return p
}

// state is where a sequence is.
type state uint8

const (
	arriving state = iota // submitted, not yet seen by the scheduler
	waiting
	running
	finished
	aborted
)

// Request describes a sequence to be run.
type Request struct {
	Prompt    Prompt
	MaxTokens int  // to generate; 0 for a request that only reads its prompt
	Cut       bool // max_tokens ends it, for the metrics
	Priority  int  // a smaller one is scheduled first

	// StallAt, if not negative, is the number of generated tokens after which
	// the sequence keeps its place and makes no progress.
	StallAt int

	// WakeAt is the number of generated tokens from which on each further token
	// is signalled on Progress; the end always is.
	WakeAt int

	// Progress has room for one signal, at least. Sequences may share it.
	Progress chan struct{}
}

// Sequence is one request in the engine: a prompt and the tokens generated for
// it. n choices are n sequences.
type Sequence struct {
	Request

	generated atomic.Int32
	cached    atomic.Int32 // prompt tokens found in the prefix cache
	done      atomic.Bool

	// Guarded by the engine's lock.
	state    state
	salt     uint64
	order    uint64 // of arrival
	place    int    // in the waiting queue
	computed int    // tokens whose keys and values are in the cache
	blocks   []blockID
	kept     int    // leading blocks that were offered to the prefix cache
	chain    uint64 // hash of the last of them

	arrived, scheduled, first, last time.Time
	preemptions                     int
}

// Generated is the number of tokens that left the engine.
func (q *Sequence) Generated() int { return int(q.generated.Load()) }

// Cached is the number of prompt tokens that the prefix cache had when the
// sequence was scheduled first.
func (q *Sequence) Cached() int { return int(q.cached.Load()) }

// Done reports whether the sequence has finished.
func (q *Sequence) Done() bool { return q.done.Load() }

// Times returns when the sequence arrived, was scheduled first, and had its
// first and last token. It must not be called before Done.
func (q *Sequence) Times() (arrived, scheduled, first, last time.Time) {
	return q.arrived, q.scheduled, q.first, q.last
}

// tokens is the length of the context: the prompt and what was generated.
func (q *Sequence) tokens() int { return q.Prompt.Tokens + int(q.generated.Load()) }

// decodes reports whether the next step computes a single, generated token.
func (q *Sequence) decodes() bool {
	return q.computed >= q.Prompt.Tokens && q.computed == q.tokens()-1
}

func (q *Sequence) stalled() bool { return q.StallAt >= 0 && q.Generated() >= q.StallAt }

// hash returns the hash of the ith block, chained to the block before it. Blocks with generated
// tokens are the sequence's own: it finds them after a preemption.
func (q *Sequence) hash(i int, before uint64) uint64 {
	if i < len(q.Prompt.hashes) {
		return q.Prompt.hashes[i]
	}
	x := before ^ q.salt ^ uint64(i)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// signal reports progress to the owner without blocking.
func (q *Sequence) signal() {
	select {
	case q.Progress <- struct{}{}:
	default:
	}
}

package order

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

const (
	// sharedBytes is the least common prefix of two prompts that counts: engines cache
	// whole blocks, and requests with nothing in common begin with the same JSON.
	sharedBytes = 256
	// rememberedBytes limits the part of a prompt that is compared.
	rememberedBytes = 256 << 10
	// hashBytes is the size of the hash of a beginning.
	hashBytes = 4
)

// beginnings are the sizes of the beginnings of prompts that are compared, in bytes: each
// power of two from sharedBytes to rememberedBytes, and the middle between two of them.
var beginnings = func() (sizes []int) {
	for n := sharedBytes; n < rememberedBytes; n *= 2 {
		sizes = append(sizes, n, n+n/2)
	}
	return append(sizes, rememberedBytes)
}()

// Prompt is the part of a line that an inference engine reads.
type Prompt struct {
	// Head is a hash of what precedes Text, such as the tools, and HeadBytes the size of
	// it. Prompts whose heads differ share nothing.
	Head      uint64
	HeadBytes int
	Text      []byte
}

// Key stands for a Prompt in a Queue. It has the hashes of its beginnings, so that the
// prompt itself need not be in memory: 44 bytes for a prompt of 8 KiB, 84 at most.
type Key struct {
	prefix prefix
	bytes  int // of the prompt
}

// Key returns the key of a prompt.
func (p Prompt) Key() Key {
	k := Key{bytes: p.HeadBytes + len(p.Text)}
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], p.Head)
	hash, hashed := xxhash.New(), 0
	_, _ = hash.Write(head[:]) // never fails
	hashes := make([]byte, 0, 128)
	for _, n := range beginnings {
		if n > k.bytes {
			break
		}
		if n -= p.HeadBytes; n > hashed {
			_, _ = hash.Write(p.Text[hashed:n])
			hashed = n
		}
		hashes = binary.BigEndian.AppendUint32(hashes, uint32(hash.Sum64()))
	}
	k.prefix = prefix(hashes)
	return k
}

// prefix is the hashes of the beginnings of a prompt, the shortest first. Each depends on
// all bytes before it: prompts that begin alike are neighbours in the order of the prefixes.
type prefix string

// bytes returns the size of the longest beginning.
func (p prefix) bytes() int {
	if n := len(p) / hashBytes; n > 0 {
		return beginnings[n-1]
	}
	return 0
}

// common returns the size of the longest beginning that two prompts have in common. They
// may share half as much again.
func (p prefix) common(q prefix) int {
	n := min(len(p), len(q))
	i := 0
	for i < n && p[i:i+hashBytes] == q[i:i+hashBytes] {
		i += hashBytes
	}
	return p[:i].bytes()
}

// near returns the length of the common prefix of q with a prompt that a server has read
// before, or 0 if that is too little to be worth anything.
func (p prefix) near(q prefix) int {
	n := p.common(q)
	if !q.isShared(n) {
		return 0
	}
	return n
}

// isShared reports whether a common prefix of n bytes is large enough to save time.
func (p prefix) isShared(n int) bool {
	return n >= sharedBytes && float64(n) >= sharedPart*float64(p.bytes())
}

// hash returns the hash of the beginning of a size, 0 if the prompt is shorter.
func (p prefix) hash(beginning int) uint32 {
	if end := (beginning + 1) * hashBytes; end <= len(p) {
		return max(1, binary.BigEndian.Uint32([]byte(p[end-hashBytes:end])))
	}
	return 0
}

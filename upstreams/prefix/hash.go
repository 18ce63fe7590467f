// Package prefix finds prompts that begin alike, and remembers which server has read
// which beginnings, so that a prompt can go where most of it is in the prefix cache.
package prefix

import (
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// BlockBytes is the size of a block: about 64 tokens of English text. Engines cache
// blocks of 16 tokens; larger ones here take less memory and time, and cost at most one
// block of precision.
const BlockBytes = 256

// MaxBlocks limits the blocks of one prompt that are compared: 1 MiB of text.
const MaxBlocks = 4096

// Chain is the blocks of a prompt. Each element stands for a block and all before it:
// prompts whose chains have equal elements at one place begin alike up to there.
type Chain []uint64

// Append appends the blocks of a prompt to chain, whose memory is reused. seed tells
// apart what engines never share, such as models and cache salts; parts are the texts
// that the engine reads, in its order. A rest of the last part that fills no block is
// left out.
func Append(chain Chain, seed uint64, parts ...[]byte) Chain {
	before := seed
	for i, part := range parts {
		for len(part) > 0 && len(chain) < MaxBlocks {
			block := part[:min(len(part), BlockBytes)]
			if len(block) < BlockBytes && i == len(parts)-1 {
				break
			}
			part = part[len(block):]
			before = mix(before, xxhash.Sum64(block))
			chain = append(chain, before)
		}
	}
	return chain
}

// Seed returns a seed of names.
func Seed(names ...string) uint64 {
	seed := uint64(0)
	for _, name := range names {
		seed = mix(seed, xxhash.Sum64String(name))
	}
	return seed
}

// mix returns the hash of a block behind others. It is never one of the values that a
// table uses for itself.
func mix(before, block uint64) uint64 {
	const odd = 0x9E3779B97F4A7C15 // 2^64 ÷ the golden ratio, of Fibonacci hashing
	hi, lo := bits.Mul64(before^odd, block|1)
	if h := hi ^ lo ^ bits.RotateLeft64(block, 32); h > removed {
		return h
	}
	return odd
}

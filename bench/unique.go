package main

import (
	"bytes"
	"hash/maphash"
)

// The tokenization of the simulated servers.
const (
	tokenBytes  = 4
	blockTokens = 16
)

// uniquePrompts counts how many prompt tokens an engine computes that reads each
// prefix once and forgets none.
type uniquePrompts struct {
	seen map[uint64]bool // chained hashes of blocks
	hash maphash.Hash

	Tokens   int // of all prompts
	Computed int // of them, with each prefix computed once
}

// add counts a chat completion request.
func (u *uniquePrompts) add(body []byte) {
	if u.seen == nil {
		u.seen = make(map[uint64]bool)
	}
	prompt := engineOrder(body)
	tokens := (len(prompt) + tokenBytes - 1) / tokenBytes
	cached, all := 0, true
	u.hash.Reset()
	for i := range len(prompt) / (blockTokens * tokenBytes) {
		_, _ = u.hash.Write(prompt[i*blockTokens*tokenBytes : (i+1)*blockTokens*tokenBytes]) // never fails
		chain := u.hash.Sum64()
		// The last token is always computed.
		all = all && u.seen[chain] && (i+1)*blockTokens < tokens
		if all {
			cached += blockTokens
		}
		u.seen[chain] = true
	}
	u.Tokens += tokens
	u.Computed += tokens - cached
}

// engineOrder returns a request as the simulated servers read it: the messages,
// and then the rest of the body.
func engineOrder(body []byte) []byte {
	const messages = `"messages":[`
	from := bytes.Index(body, []byte(messages)) + len(messages)
	to := bytes.LastIndexByte(body, ']')
	prompt := make([]byte, 0, len(body))
	prompt = append(prompt, body[from:to]...)
	prompt = append(prompt, body[:from]...)
	return append(prompt, body[to:]...)
}

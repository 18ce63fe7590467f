package scheduler

import (
	"github.com/cespare/xxhash/v2"

	"github.com/tidegate/tidegate/batch/scheduler/order"
	"github.com/tidegate/tidegate/internal/openai"
)

// promptKey returns the key of what an engine reads of a request. Tools and instructions come first,
// and are the same ones in requests that share a prefix.
func promptKey(body []byte) order.Key {
	found := openai.FindPrompt(body)
	before, text := found.Parts[:len(found.Parts)-1], found.Parts[len(found.Parts)-1]
	p := order.Prompt{Text: text}
	hash := xxhash.New()
	for _, part := range append(before, found.Salt) {
		p.HeadBytes += len(part)
		_, _ = hash.Write(part) // never fails
		_, _ = hash.Write([]byte{0})
	}
	p.Head = hash.Sum64()
	return p.Key()
}

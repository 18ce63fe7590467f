package openai

// Prompt has the parts of a request that an engine prefills, as raw JSON values.
type Prompt struct {
	// Parts are the values in the order in which chat templates have them: tools, the
	// instructions, and the messages, the prompt or the input. Missing ones are nil.
	Parts [3][]byte
	// Salt is the value of cache_salt
	// (https://docs.vllm.ai/en/latest/features/automatic_prefix_caching): engines share
	// no prefix between requests whose salts differ.
	Salt []byte
}

// promptMembers are the members that FindPrompt looks for, and their parts.
var promptMembers = map[string]int{
	"tools":        0,
	"system":       1, // of /v1/messages
	"instructions": 1, // of /v1/responses
	"messages":     2,
	"prompt":       2,
	"input":        2,
}

// FindPrompt finds the prompt in a body, or in the beginning of a larger one. Nothing
// is copied, and of a value that ends behind the beginning there is what is there. A body
// that is no JSON object has no prompt.
func FindPrompt(head []byte) (p Prompt) {
	m := membersOf(head)
	for m.next() {
		if part, ok := promptMembers[string(m.name())]; ok {
			p.Parts[part] = m.value
		} else if string(m.key) == "cache_salt" {
			p.Salt = m.value
		}
	}
	if m.state == walkCut && m.key != nil && m.i < len(m.b) {
		if part, ok := promptMembers[string(m.name())]; ok {
			p.Parts[part] = m.b[m.i:]
		}
	}
	return p
}

package upstreams

import "testing"

// The bytes of audio are not counted as text.
func TestEstimateOfTokens(t *testing.T) {
	audio := &payload{head: []byte(`--x`), length: 25 << 20}
	if prompt, answer := routes["/v1/audio/transcriptions"].estimate(audio); prompt != 0 || answer != 0 {
		t.Errorf("audio: got %d and %d tokens, want none", prompt, answer)
	}
	text := &payload{head: []byte(`{"max_tokens":10,"n":2}`), length: 4000}
	if prompt, answer := routes["/v1/chat/completions"].estimate(text); prompt != 1001 || answer != 20 {
		t.Errorf("text: got %d and %d tokens, want 1001 and 20", prompt, answer)
	}
}

package upstreams

import (
	"math"
	"sync/atomic"
)

const (
	// learnNews is the weight of the newest value in what is learned from answers.
	learnNews = 0.3
	// bytesPerToken is assumed of a model that has not answered yet.
	bytesPerToken = 4.0
	// A prompt has at most one token for each tokenBytesLeast bytes, and at least one
	// for each tokenBytesMost: anything else is not a count of this request's tokens.
	tokenBytesLeast, tokenBytesMost = 1.0 / 16, 1 << 20
	// promptClasses is the number of size classes of requests: the sizes of one class
	// differ by less than a factor of 4.
	promptClasses = 16
)

// promptTokens estimates how many tokens the prompt of a request has from the size
// of the request, by what the answers of the model said. Small requests have more
// bytes for each token, as the JSON around the text counts, and so have those with
// images: each size class has a ratio of its own. The zero value is ready.
type promptTokens struct {
	ratios [promptClasses]average32 // bytes for each token
}

func promptClass(bytes int64) int { return min(int(sizeClass(bytes))/2, promptClasses-1) }

// estimate returns the tokens of a request of so many bytes, at least 1. A class
// without answers is like the nearest one that has some.
func (t *promptTokens) estimate(bytes int64) int64 {
	ratio, known := 0.0, false
	if t != nil {
		at := promptClass(bytes)
		for off := 0; off < promptClasses && !known; off++ {
			if at-off >= 0 {
				ratio, known = t.ratios[at-off].value()
			}
			if !known && at+off < promptClasses {
				ratio, known = t.ratios[at+off].value()
			}
		}
	}
	if !known {
		ratio = bytesPerToken
	}
	return max(1, int64(math.Round(float64(max(0, bytes))/ratio)))
}

// learn notes that a request of so many bytes had so many tokens.
func (t *promptTokens) learn(bytes, tokens int64) {
	if t == nil || bytes <= 0 || tokens <= 0 {
		return
	}
	ratio := float64(bytes) / float64(tokens)
	if ratio < tokenBytesLeast || ratio > tokenBytesMost {
		return
	}
	t.ratios[promptClass(bytes)].add(ratio)
}

// average32 is a moving average of values of at least 0. Additions at the same time
// may lose one of them, which the next one makes up for.
type average32 struct {
	bits atomic.Uint32 // of a float32, one more than its place; 0: no value yet
}

func (a *average32) value() (v float64, known bool) {
	bits := a.bits.Load()
	if bits == 0 {
		return 0, false
	}
	return float64(math.Float32frombits(bits - 1)), true
}

func (a *average32) add(v float64) {
	if was, known := a.value(); known {
		v = was + learnNews*(v-was)
	}
	a.bits.Store(math.Float32bits(float32(v)) + 1)
}

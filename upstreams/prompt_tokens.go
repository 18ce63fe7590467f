package upstreams

import (
	"math"
	"sync/atomic"
)

const (
	// learnNews is the weight of the newest value in moving averages.
	learnNews = 0.3
	// bytesPerToken is assumed for a model without answers.
	bytesPerToken = 4.0
	// Limits of the bytes per token. Values outside of them are not a token count of
	// the request.
	tokenBytesLeast, tokenBytesMost = 1.0 / 16, 1 << 20
	// promptClasses is the number of size classes of requests: sizes within one class
	// differ by less than a factor of 4.
	promptClasses = 16
)

// promptTokens estimates the number of prompt tokens from the size of a request,
// based on the usage in earlier answers of the model. The ratio depends on the size,
// because of the JSON around the text in small requests and of images: each size
// class has its own ratio. The zero value is ready.
type promptTokens struct {
	ratios [promptClasses]average32 // bytes for each token
}

func promptClass(bytes int64) int { return min(int(sizeClass(bytes))/2, promptClasses-1) }

// estimate returns the estimated tokens of a request, at least 1. A class without
// answers uses the ratio of the nearest class that has one.
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

// learn records the number of tokens of a request.
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

// average32 is a moving average of values of at least 0. Concurrent additions may
// lose a value, which later values compensate.
type average32 struct {
	bits atomic.Uint32 // of a float32, plus 1; 0: no value yet
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

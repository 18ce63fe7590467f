package scheduler

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/batch"
)

const (
	// retryAfterLimit limits the pause that an upstream can ask for.
	retryAfterLimit = 5 * time.Minute
	// excusedPause limits the pause of a line whose upstream failed for a reason of its
	// own. The pool limits the requests to such upstreams.
	excusedPause = 2 * time.Second
)

// backoff returns the pause after a failure. It doubles with each failure before, with
// jitter over its upper half.
func backoff(failures int, cfg *batch.Config) time.Duration {
	d := cfg.RetryBackoffMin
	for range failures {
		if d *= 2; d >= cfg.RetryBackoffMax {
			d = cfg.RetryBackoffMax
			break
		}
	}
	return d/2 + rand.N(d/2+1)
}

// retryAfter returns the value of the header Retry-After, in seconds or as a date
// (RFC 9110, 10.2.3), up to retryAfterLimit.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	var d time.Duration
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if !(seconds < retryAfterLimit.Seconds()) { // NaN as well
			return retryAfterLimit
		}
		d = time.Duration(seconds * float64(time.Second))
	} else if at, err := http.ParseTime(value); err == nil {
		d = time.Until(at)
	}
	return min(max(d, 0), retryAfterLimit)
}

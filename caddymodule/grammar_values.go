package caddymodule

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

const (
	// mostCount is the upper limit of counts without their own limit.
	mostCount = 1_000_000_000
	// shortestSpan and longestSpan limit durations.
	shortestSpan = time.Millisecond
	longestSpan  = 365 * 24 * time.Hour
	// longestTTL limits how long objects are kept; 100 years means forever.
	longestTTL = 100 * longestSpan
	// largestSize limits sizes, in bytes.
	largestSize = 1 << 50
)

// number parses a number above 0.
func number(to *float64, most float64) option {
	return parsed(to, fmt.Sprintf("a number above 0 and up to %g", most), func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err == nil && !(n > 0 && n <= most) { // NaN is refused too
			err = strconv.ErrRange
		}
		return n, err
	})
}

func numberFrom(to *float64, least, most float64) option {
	return parsed(to, fmt.Sprintf("a number from %g to %g", least, most), func(s string) (float64, error) {
		n, err := strconv.ParseFloat(s, 64)
		if err == nil && !(n >= least && n <= most) { // NaN is refused too
			err = strconv.ErrRange
		}
		return n, err
	})
}

func parseCount(s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && (n < least || n > most) {
		err = strconv.ErrRange
	}
	return n, err
}

func count(to *int) option { return countFrom(to, 1, mostCount) }

func countFrom(to *int, least, most int) option {
	return parsed(to, fmt.Sprintf("a whole number from %d to %d", least, most), func(s string) (int, error) {
		return parseCount(s, least, most)
	})
}

// countOr parses a count, or a word for a special value.
func countOr(to *int, most int, word string, value int) option {
	return parsed(to, fmt.Sprintf("a whole number from 1 to %d, or %q", most, word), func(s string) (int, error) {
		if s == word {
			return value, nil
		}
		return parseCount(s, 1, most)
	})
}

// oneOf parses one of several words.
func oneOf(to *string, words ...string) option {
	return parsed(to, "one of "+strings.Join(words, ", "), func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", strconv.ErrSyntax
		}
		return s, nil
	})
}

func parseSpan(s string, most time.Duration) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	if err == nil && (d < shortestSpan || d > most) {
		err = strconv.ErrRange
	}
	return caddy.Duration(d), err
}

func wantSpan(most time.Duration) string {
	days := int(most / (24 * time.Hour))
	return fmt.Sprintf("from %s to %dd with a unit, such as 30s", shortestSpan, days)
}

func span(to *caddy.Duration) option { return spanUpTo(to, longestSpan) }

// ttl parses how long objects are kept.
func ttl(to *caddy.Duration) option { return spanUpTo(to, longestTTL) }

func spanUpTo(to *caddy.Duration, most time.Duration) option {
	return parsed(to, "a duration "+wantSpan(most), func(s string) (caddy.Duration, error) { return parseSpan(s, most) })
}

// spans parses two durations, the second of which must not be shorter.
func spans(first, last *caddy.Duration) option {
	return func(d *caddyfile.Dispenser) error {
		word := d.Val()
		values := d.RemainingArgs()
		if len(values) != 2 {
			return d.ArgErr()
		}
		for i, to := range []*caddy.Duration{first, last} {
			var err error
			if *to, err = parseSpan(values[i], longestSpan); err != nil {
				return d.Errf("%s must be two durations %s, not %q", word, wantSpan(longestSpan), values[i])
			}
		}
		if *last < *first {
			return d.Errf("%s must not end (%s) below its start (%s)", word, values[1], values[0])
		}
		return nil
	}
}

func size(to *int64) option {
	return parsed(to, "a size from 1B to 1PiB with a unit, such as 32MiB", func(s string) (int64, error) {
		if strings.Contains(s, ",") { // humanize parses 1,5MiB as 15MiB
			return 0, strconv.ErrSyntax
		}
		n, err := humanize.ParseBytes(s)
		if err == nil && (n == 0 || n > largestSize || n > math.MaxInt) {
			err = strconv.ErrRange
		}
		return int64(n), err
	})
}

package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// arrivals are the moments at which live requests are sent, from the start of
// the traffic on: a Poisson process, the same for the same seed.
type arrivals []time.Duration

// poisson draws arrivals at a rate per second between two moments.
func poisson(seed uint64, from, to time.Duration, rate float64) arrivals {
	rng := rand.New(rand.NewPCG(seed, uint64(from)))
	var all arrivals
	for at := from; ; {
		at += time.Duration(rng.ExpFloat64() / rate * float64(time.Second))
		if at >= to {
			return all
		}
		all = append(all, at)
	}
}

// window is a part of the traffic.
type window struct{ from, to time.Duration }

func (w window) holds(at time.Duration) bool { return at >= w.from && at < w.to }

// bursts are windows of a length, one in each period, the first one a period
// after the start.
func bursts(start time.Duration, n int, period, length time.Duration) []window {
	all := make([]window, n)
	for i := range all {
		from := start + time.Duration(i+1)*period - length
		all[i] = window{from, from + length}
	}
	return all
}

// withBursts draws arrivals at a rate until end that is times as high in some
// windows.
func withBursts(seed uint64, end time.Duration, rate, times float64, windows []window) arrivals {
	all := poisson(seed, 0, end, rate)
	for i, w := range windows {
		all = append(all, poisson(seed+uint64(i)+1, w.from, w.to, rate*(times-1))...)
	}
	slices.Sort(all)
	return all
}

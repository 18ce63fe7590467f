package main

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// batchParts are the parts of a makespan, in seconds of the servers' clock, as observed by
// reading GET /health every partsInterval.
type batchParts struct {
	Planning float64 `json:"planning_seconds"` // from the creation until the first line was sent
	Sending  float64 `json:"sending_seconds"`  // until the last line was sent
	Ending   float64 `json:"ending_seconds"`   // until the last answer
	Output   float64 `json:"output_seconds"`   // until the batch was completed
	// Limits are the limits of the servers when the first line had been sent and when the
	// last line had been sent, the smallest and the largest.
	Limits [2][2]int `json:"limits"`
}

// partsInterval is the time between two observations.
const partsInterval = 10 * time.Millisecond

// linesSeen are the attempts at lines of a gateway at one moment.
type linesSeen struct {
	at          time.Time
	sent, ended int64 // since the gateway started
	limits      [2]int
}

// seeLines reads the lines of a gateway.
func seeLines(ctx context.Context, gateway string) (s linesSeen, err error) {
	var health struct {
		Upstreams []struct {
			Limit         int   `json:"limit"`
			BatchInFlight int64 `json:"batch_in_flight"`
			Requests      int64 `json:"requests"`
		} `json:"upstreams"`
	}
	if err := call(ctx, http.MethodGet, "http://"+gateway+"/health", "", nil, &health); err != nil {
		return s, err
	}
	for i, u := range health.Upstreams {
		s.ended += u.Requests - u.BatchInFlight // each attempt counts when it begins
		s.sent += u.Requests
		if i == 0 {
			s.limits = [2]int{u.Limit, u.Limit}
		}
		s.limits = [2]int{min(s.limits[0], u.Limit), max(s.limits[1], u.Limit)}
	}
	s.at = time.Now()
	return s, nil
}

// watchLines reads the lines of a gateway until ctx ends.
func watchLines(ctx context.Context, gateway string) []linesSeen {
	var seen []linesSeen
	for ctx.Err() == nil {
		if s, err := seeLines(ctx, gateway); err == nil {
			seen = append(seen, s)
		}
		if pause(ctx, partsInterval) != nil {
			break
		}
	}
	return seen
}

// partsOf divides the time of a batch of some lines on a gateway that had ended before lines
// when the batch was created. A line that is sent again makes sending end early.
func partsOf(seen []linesSeen, created, completed time.Time, before, lines int64, speed float64) (p batchParts) {
	first, sent, ended := completed, completed, completed
	for _, s := range slices.Backward(seen) {
		if s.sent > before {
			first, p.Limits[0] = s.at, s.limits
		}
		if s.sent >= before+lines {
			sent, p.Limits[1] = s.at, s.limits
		}
		if s.ended >= before+lines {
			ended = s.at
		}
	}
	seconds := func(from, to time.Time) float64 { return to.Sub(from).Seconds() * speed }
	p.Planning, p.Sending, p.Ending, p.Output = seconds(created, first), seconds(first, sent), seconds(sent, ended), seconds(ended, completed)
	return p
}

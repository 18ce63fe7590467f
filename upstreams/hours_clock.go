package upstreams

import (
	"context"
	"slices"
	"time"
)

// share returns the part of the slots that batch lines may use at a time. It uses
// local wall-clock time: in the night in which an hour is repeated, its share is
// repeated, too.
func (h *hours) share(at time.Time) float64 {
	at = at.In(h.zone)
	minute, today := at.Hour()*60+at.Minute(), at.Weekday()
	for _, r := range h.ranges {
		if r.has(today, minute) {
			return r.share
		}
	}
	return h.otherwise
}

func (r *hoursRange) has(day time.Weekday, minute int) bool {
	if r.begin < r.end {
		return r.days[day] && r.begin <= minute && minute < r.end
	}
	yesterday := (day + 6) % 7
	return r.days[day] && minute >= r.begin || r.days[yesterday] && minute < r.end
}

// hoursHorizon is more than a week, after which the schedule repeats.
const hoursHorizon = 8 // days

// next returns when the share changes next, zero if it never does.
func (h *hours) next(after time.Time) time.Time {
	var times []time.Time
	// A wall-clock time exists twice, once or never: it is a candidate for each offset
	// from UTC that is in use up to then.
	offsets := make(map[int]bool)
	end := after.AddDate(0, 0, hoursHorizon)
	for at := after.AddDate(0, 0, -1).In(h.zone); at.Before(end); {
		_, offset := at.Zone()
		offsets[offset] = true
		_, change := at.ZoneBounds()
		if change.IsZero() {
			break
		}
		times = append(times, change) // the clock jumps
		at = change
	}
	year, month, day := after.In(h.zone).Date()
	for d := -1; d <= hoursHorizon; d++ {
		midnight := time.Date(year, month, day+d, 0, 0, 0, 0, time.UTC)
		for _, r := range h.ranges {
			for _, minute := range [...]int{r.begin, r.end} {
				for offset := range offsets {
					times = append(times, midnight.Add(time.Duration(minute)*time.Minute-time.Duration(offset)*time.Second))
				}
			}
		}
	}
	// Whole days begin and end at midnight, which is the begin or end of a range.
	slices.SortFunc(times, time.Time.Compare)
	now := h.share(after)
	for _, at := range times {
		if at.After(after) && h.share(at) != now {
			return at
		}
	}
	return time.Time{}
}

// BatchHours describes the share of their slots that batch lines may use now.
type BatchHours struct {
	Share float64   // 0 to 1
	Until time.Time // when it changes, in the configured zone; zero: never
	Next  float64   // the share from then on
	// Opens is when the share is above 0 again; zero while it is above 0, or if it
	// never will be.
	Opens time.Time
}

// BatchHours returns the current share of the slots. ok is false if no hours are
// configured.
func (p *Pool) BatchHours() (now BatchHours, ok bool) {
	in := p.throttle.hours.Load()
	if in == nil {
		return BatchHours{Share: 1}, false
	}
	return in.BatchHours, true
}

// activeHours is the schedule with its current share.
type activeHours struct {
	schedule *hours
	BatchHours
}

// at returns the schedule with its share at a time.
func (h *hours) at(at time.Time) *activeHours {
	in := &activeHours{h, BatchHours{Share: h.share(at), Until: h.next(at)}}
	if in.Until.IsZero() {
		return in
	}
	in.Until = in.Until.In(h.zone)
	in.Next = h.share(in.Until)
	if in.Share == 0 {
		in.Opens = in.Until // from 0 it can only rise
	}
	return in
}

// hoursRecheck limits the timer for the next change: the clock may be adjusted, or
// the machine may be suspended.
const hoursRecheck = time.Minute

// runHours keeps the current share up to date until ctx ends.
func (p *Pool) runHours(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.throttle.changed:
		case <-timer.C:
		}
		if wait, changes := p.updateHours(time.Now()); changes {
			timer.Reset(wait)
		}
	}
}

// updateHours sets the share of a time, and returns when to check again if the share
// ever changes.
func (p *Pool) updateHours(now time.Time) (wait time.Duration, changes bool) {
	in := p.throttle.hours.Load()
	if in == nil {
		return 0, false
	}
	next := in.schedule.at(now)
	p.throttle.hours.CompareAndSwap(in, next) // unless the configuration was replaced
	if next.Share != in.Share {
		p.signal() // a lower share signals, too: waiting batches report why
	}
	// A timer may be early by the wall clock.
	return min(max(next.Until.Sub(now), time.Millisecond), hoursRecheck), !next.Until.IsZero()
}

package upstreams

import (
	"context"
	"slices"
	"time"
)

// share is the part of the slots that batch lines may use at a time. It goes by
// the clock on the wall: in the night in which an hour is repeated, so is its share.
func (h *hours) share(at time.Time) float64 {
	at = at.In(h.zone)
	minute, today := at.Hour()*60+at.Minute(), at.Weekday()
	for _, r := range h.ranges {
		if r.has(today, minute) {
			return r.share
		}
	}
	return h.rest
}

func (r *hoursRange) has(day time.Weekday, minute int) bool {
	if r.begin < r.end {
		return r.days[day] && r.begin <= minute && minute < r.end
	}
	yesterday := (day + 6) % 7
	return r.days[day] && minute >= r.begin || r.days[yesterday] && minute < r.end
}

// hoursHorizon is longer than a week, after which everything is repeated.
const hoursHorizon = 8 // days

// next is when the share changes after a time, zero if it never does.
func (h *hours) next(after time.Time) time.Time {
	var times []time.Time
	// A time on the wall exists twice, once or never: it is a candidate for each
	// offset from UTC that is in force up to then.
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
	// Whole days begin and end at midnight, which is a range's begin or end.
	slices.SortFunc(times, time.Time.Compare)
	now := h.share(after)
	for _, at := range times {
		if at.After(after) && h.share(at) != now {
			return at
		}
	}
	return time.Time{}
}

// BatchHours says which share of their slots batch lines may use now.
type BatchHours struct {
	Share float64   // 0 to 1
	Until time.Time // when it changes, in the configured zone; zero: never
	Next  float64   // the share from then on
	// Opens is when the share is above 0 again, zero while it is, or if it never is.
	Opens time.Time
}

// BatchHours returns the share of the slots that is in force. ok is false if no
// hours are configured.
func (p *Pool) BatchHours() (now BatchHours, ok bool) {
	in := p.throttle.hours.Load()
	if in == nil {
		return BatchHours{Share: 1}, false
	}
	return in.BatchHours, true
}

// hoursInForce is the schedule and what it says at the time.
type hoursInForce struct {
	schedule *hours
	BatchHours
}

// read says what a schedule says at a time.
func (h *hours) read(at time.Time) *hoursInForce {
	in := &hoursInForce{h, BatchHours{Share: h.share(at), Until: h.next(at)}}
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

// hoursRecheck bounds how long a timer for the next change runs: the clock may be
// set, or the machine may sleep, meanwhile.
const hoursRecheck = time.Minute

// keepHours has the share of the time in force until ctx ends.
func (p *Pool) keepHours(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.throttle.changed:
		case <-timer.C:
		}
		if wait, changes := p.readHours(time.Now()); changes {
			timer.Reset(wait)
		}
	}
}

// readHours puts the share of a time in force and returns when to look again, if
// it ever changes.
func (p *Pool) readHours(now time.Time) (wait time.Duration, changes bool) {
	in := p.throttle.hours.Load()
	if in == nil {
		return 0, false
	}
	next := in.schedule.read(now)
	p.throttle.hours.CompareAndSwap(in, next) // else a new configuration has come
	if next.Share != in.Share {
		p.signal() // less wakes too: batches that wait say why
	}
	// A timer may be early by the wall clock.
	return min(max(next.Until.Sub(now), time.Millisecond), hoursRecheck), !next.Until.IsZero()
}

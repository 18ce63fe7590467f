package engine

import (
	"time"

	"github.com/tidegate/tidegate/batch"
)

// speed is the rate at which lines of a model end while there are lines to send.
type speed struct {
	perMinute float64   // lines, on all gateways
	at        time.Time // when the last of the measured lines was sent, by the store's clock
}

// speedOf returns the speed of a model from its minutes, the newest first, and false if
// it cannot be derived from them.
//
// It measures the time in which lines flowed: from when the first line was sent up to
// when the last one was. Until then a line took every free slot. Afterwards slots are
// empty, so that lines which end then do not show the speed of the servers. Idle
// time before, between and after such times does not count. The newest rateSpan of
// flow is measured, whenever that was, in whole minutes where they are whole.
func speedOf(minutes []batch.ModelMinute) (speed, bool) {
	var end time.Time
	for _, m := range minutes {
		if m.Began.After(end) {
			end = m.Began
		}
	}
	lines, busy := 0.0, time.Duration(0)
	for i, m := range minutes {
		if busy >= rateSpan {
			break
		}
		start, next := later(m.At, m.First), m.At.Add(time.Minute)
		// Lines that were in flight across the minute's end kept the servers busy.
		through := i > 0 && minutes[i-1].At.Equal(next) && !minutes[i-1].First.After(next)
		var stop time.Time
		switch {
		case !m.At.Before(end): // what was left over
			continue
		case !next.Before(end):
			stop = end
		case through:
			stop = next
		default:
			stop = m.Began
		}
		flowed := stop.Sub(start)
		if flowed <= 0 {
			continue
		}
		share := 1.0
		if ended := m.Last.Sub(start); (!through || stop.Before(next)) && ended > flowed {
			share = float64(flowed) / float64(ended)
		}
		lines += share * float64(m.Lines)
		busy += flowed
	}
	if busy < rateLeast || lines <= 0 {
		return speed{}, false
	}
	return speed{lines / busy.Minutes(), end}, true
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

const (
	// flowKept limits the minutes of a model that are kept.
	flowKept = 10
	// flowOverlap is the time before the last read whose minutes are read again, because
	// their counts may have grown.
	flowOverlap = 2 * time.Minute
	// mostSpeeds limits the models whose minutes are kept.
	mostSpeeds = 1000
)

// flow remembers the newest minutes of each model in which lines ended.
type flow struct {
	minutes map[string][]batch.ModelMinute // the newest first
	read    time.Time                      // until when, by the store's clock; zero: never
}

// since is from when on minutes are to be read at a time.
func (f *flow) since(now time.Time) time.Time {
	if f.read.IsZero() {
		return now.Add(-batch.MinutesTTL)
	}
	return f.read.Add(-flowOverlap)
}

// learn adds minutes that were read at a time, the newest first.
func (f *flow) learn(minutes []batch.ModelMinute, now time.Time) {
	fresh := make(map[string][]batch.ModelMinute)
	for _, m := range minutes {
		if len(fresh[m.Model]) < flowKept {
			fresh[m.Model] = append(fresh[m.Model], m)
		}
	}
	for model, all := range fresh {
		oldest := all[len(all)-1].At
		for _, m := range f.minutes[model] {
			if m.At.Before(oldest) && len(all) < flowKept {
				all = append(all, m)
			}
		}
		f.minutes[model] = all
	}
	f.read = now
	for len(f.minutes) > mostSpeeds {
		last, found := "", false
		for model, all := range f.minutes {
			if !found || all[0].At.Before(f.minutes[last][0].At) {
				last, found = model, true
			}
		}
		delete(f.minutes, last)
	}
}

// speeds are those that are known, by model.
func (f *flow) speeds() map[string]speed {
	speeds := make(map[string]speed, len(f.minutes))
	for model, all := range f.minutes {
		if s, known := speedOf(all); known {
			speeds[model] = s
		}
	}
	return speeds
}

// ended is when a line of each model last got its result.
func (f *flow) ended() map[string]time.Time {
	ended := make(map[string]time.Time, len(f.minutes))
	for model, all := range f.minutes {
		ended[model] = all[0].Last
	}
	return ended
}

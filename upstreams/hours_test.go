package upstreams

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

func parsedHours(t *testing.T, c HoursConfig) *hours {
	t.Helper()
	h, err := c.parse()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHoursShare(t *testing.T) {
	// 2026-11-27 is a Friday.
	night := HoursConfig{Zone: "Europe/Berlin", Else: new(0.3), Ranges: []HoursRange{{"22:00-06:00", 1}}}
	work := HoursConfig{Zone: "Europe/Berlin", Ranges: []HoursRange{{"Mon-Fri 08:00-18:00", 0.25}}}
	friday := HoursConfig{Zone: "UTC", Else: new(0.0), Ranges: []HoursRange{{"Fri 22:00-06:00", 1}}}
	over := HoursConfig{Zone: "UTC", Else: new(0.1), Ranges: []HoursRange{{"12:00-13:00", 0.5}, {"08:00-18:00", 0.2}, {"Sat,Sun", 1}}}
	week := HoursConfig{Zone: "UTC", Else: new(0.0), Ranges: []HoursRange{{"Fri-Mon 00:00-24:00", 1}}}
	for _, c := range []struct {
		name string
		cfg  HoursConfig
		at   string
		want float64
	}{
		{"none configured", HoursConfig{}, "2026-11-27T12:00:00Z", 1},
		{"before the range", night, "2026-11-27T21:59:59+01:00", 0.3},
		{"at its begin", night, "2026-11-27T22:00:00+01:00", 1},
		{"after midnight", night, "2026-11-28T05:59:59+01:00", 1},
		{"at its end", night, "2026-11-28T06:00:00+01:00", 0.3},
		{"given in another zone", night, "2026-11-27T21:00:00Z", 1},
		{"a working day", work, "2026-11-27T08:00:00+01:00", 0.25},
		{"a Saturday", work, "2026-11-28T08:00:00+01:00", 1},
		{"a night belongs to the day it begins on", friday, "2026-11-28T03:00:00Z", 1},
		{"not the night before", friday, "2026-11-27T03:00:00Z", 0},
		{"not the night after", friday, "2026-11-28T23:00:00Z", 0},
		{"the first match wins", over, "2026-11-28T12:30:00Z", 0.5},
		{"then the second", over, "2026-11-28T13:00:00Z", 0.2},
		{"then the third", over, "2026-11-28T18:00:00Z", 1},
		{"then else", over, "2026-11-27T18:00:00Z", 0.1},
		{"days across the end of the week", week, "2026-11-30T23:59:59Z", 1},
		{"and the day after", week, "2026-12-01T00:00:00Z", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, c.at)
			if err != nil {
				t.Fatal(err)
			}
			if got := parsedHours(t, c.cfg).share(at); got != c.want {
				t.Errorf("share at %s: got %v, want %v", c.at, got, c.want)
			}
		})
	}
}

func TestHoursErrors(t *testing.T) {
	for _, c := range []struct {
		cfg  HoursConfig
		want string
	}{
		{HoursConfig{Ranges: []HoursRange{{"", 0}}}, "is not a time range"},
		{HoursConfig{Ranges: []HoursRange{{"Mon Tue 08:00-09:00", 0}}}, "is not a time range"},
		{HoursConfig{Ranges: []HoursRange{{"25:00-06:00", 0}}}, "no times of day"},
		{HoursConfig{Ranges: []HoursRange{{"22:00-24:01", 0}}}, "no times of day"},
		{HoursConfig{Ranges: []HoursRange{{"22:00-06:60", 0}}}, "no times of day"},
		{HoursConfig{Ranges: []HoursRange{{"22:00", 0}}}, "no times of day"},
		{HoursConfig{Ranges: []HoursRange{{"22-06", 0}}}, "no days of the week"},
		{HoursConfig{Ranges: []HoursRange{{"22:0-06:00", 0}}}, "no times of day"},
		{HoursConfig{Ranges: []HoursRange{{"+2:00-06:00", 0}}}, "no times of day"},
		{HoursConfig{Ranges: []HoursRange{{"08:00-08:00", 0}}}, "begins when it ends"},
		{HoursConfig{Ranges: []HoursRange{{"24:00-08:00", 0}}}, "begins at 24:00"},
		{HoursConfig{Ranges: []HoursRange{{"Moon 08:00-09:00", 0}}}, `no days of the week in "Moon"`},
		{HoursConfig{Ranges: []HoursRange{{"Mon- 08:00-09:00", 0}}}, "no days of the week"},
		{HoursConfig{Ranges: []HoursRange{{"08:00-09:00", 1.5}}}, "must be from 0 to 1"},
		{HoursConfig{Ranges: []HoursRange{{"08:00-09:00", -1}}}, "must be from 0 to 1"},
		{HoursConfig{Ranges: []HoursRange{{"08:00-09:00", 0}}, Else: new(2.0)}, "else: 2"},
		{HoursConfig{Ranges: []HoursRange{{"08:00-09:00", 1}}}, "else is not set"},
		{HoursConfig{Else: new(0.5)}, "needs hours before it"},
		{HoursConfig{Zone: "UTC"}, "hours_zone: needs hours"},
		{HoursConfig{Zone: "Europe/Atlantis", Ranges: []HoursRange{{"08:00-09:00", 0}}}, `unknown time zone "Europe/Atlantis"`},
	} {
		if err := c.cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want an error with %q", c.cfg, err, c.want)
		}
	}
}

// TestHoursNext checks that the next change is the first minute with another share, also at
// changes of daylight saving time.
func TestHoursNext(t *testing.T) {
	ranges := []HoursRange{{"22:00-06:00", 1}, {"01:30-02:30", 0.1}, {"Sun 02:15-02:45", 0.5}, {"Mon-Fri 08:00-18:00", 0.2}, {"Sat", 0.7}}
	for _, c := range []struct{ zone, begin string }{
		{"UTC", "2026-11-27T12:00:00Z"},
		{"Europe/Berlin", "2026-03-26T12:00:00Z"},       // an hour is left out
		{"Europe/Berlin", "2026-10-22T12:00:00Z"},       // an hour is repeated
		{"America/New_York", "2026-10-29T12:00:00Z"},    //
		{"Australia/Lord_Howe", "2026-04-02T12:00:00Z"}, // half an hour is repeated
		{"Pacific/Apia", "2011-12-27T12:00:00Z"},        // a day is left out
		{"America/Sao_Paulo", "2018-11-01T12:00:00Z"},   // midnight is left out
		{"Asia/Kolkata", "2026-11-27T12:00:00Z"},        // not on the hour
	} {
		for _, only := range [][]HoursRange{ranges, ranges[:1], ranges[1:2], ranges[2:3], ranges[3:]} {
			h := parsedHours(t, HoursConfig{Zone: c.zone, Ranges: only, Else: new(0.0)})
			at, err := time.Parse(time.RFC3339, c.begin)
			if err != nil {
				t.Fatal(err)
			}
			want := h.next(at)
			for end := at.Add(7 * 24 * time.Hour); at.Before(end); at = at.Add(time.Minute) {
				changed := h.share(at) != h.share(at.Add(-time.Minute))
				if changed != at.Equal(want) && at.Add(-time.Minute).After(end.Add(-7*24*time.Hour)) {
					t.Fatalf("%s %+v: at %s the share changes: %v, but the next change is said to be at %s", c.zone, only, at.In(h.zone), changed, want)
				}
				if at.Equal(want) {
					want = h.next(at)
				}
			}
		}
	}
	always := parsedHours(t, HoursConfig{Ranges: []HoursRange{{"Mon-Sun", 0.5}}})
	if at := always.next(time.Now()); !at.Equal(time.Time{}) && always.share(at) == 0.5 {
		t.Errorf("a share that never changes changes at %s", at)
	}
}

// The share is applied to the slots, and a change wakes those that wait.
func TestHoursInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The bubble begins at midnight UTC on 2000-01-01, a Saturday.
		p := newPool(zap.NewNop(), (&network{}).dial) // every connection is refused
		cfg := Config{Upstreams: []UpstreamConfig{{URL: "http://a", MaxNumSeqs: 20}}, BatchShare: 1, Hours: HoursConfig{
			Zone: "UTC", Else: new(0.0), Ranges: []HoursRange{{"06:00-08:00", 1}, {"08:00-09:00", 0.3}},
		}}
		if err := p.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		p.Start()
		defer p.Close()
		slots := func() int {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.candidate(p.upstreams[0]).batchSlots(0)
		}
		want := func(what string, wantSlots int, until string) {
			t.Helper()
			synctest.Wait()
			now, ok := p.BatchHours()
			if got := slots(); got != wantSlots || !ok || now.Until.Format("15:04") != until {
				t.Errorf("%s: got %d slots until %s, want %d until %s", what, got, now.Until.Format("15:04"), wantSlots, until)
			}
		}
		drained := func() bool {
			select {
			case <-p.Freed():
				return true
			default:
				return false
			}
		}
		want("at midnight", 0, "06:00")
		if now, _ := p.BatchHours(); now.Opens.Format("15:04") != "06:00" {
			t.Errorf("batch lines run again at %s, want 06:00", now.Opens)
		}
		time.Sleep(6*time.Hour - time.Second)
		drained() // the server is down by now, and stays so
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		if drained() {
			t.Error("those that wait were woken before the change")
		}
		time.Sleep(time.Nanosecond)
		want("at 06:00", 16, "08:00")
		if !drained() {
			t.Error("those that wait were not woken at 06:00")
		}
		time.Sleep(2 * time.Hour)
		want("at 08:00", 4, "09:00")
		time.Sleep(time.Hour)
		want("at 09:00", 0, "06:00")

		cfg.Hours = HoursConfig{Zone: "UTC", Else: new(0.5), Ranges: []HoursRange{{"06:00-08:00", 1}}}
		if err := p.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		want("after a new configuration", 8, "06:00")
		cfg.Hours = HoursConfig{}
		if err := p.Apply(cfg); err != nil {
			t.Fatal(err)
		}
		if _, ok := p.BatchHours(); ok || slots() != 16 {
			t.Errorf("without hours: got %d slots, want 16", slots())
		}
	})
}

func TestThrottled(t *testing.T) {
	hours := func(share float64) *activeHours { return &activeHours{BatchHours: BatchHours{Share: share}} }
	for _, c := range []struct {
		name     string
		slots    int
		hours    *activeHours
		budget   float64
		withheld bool
		want     int
	}{
		{"nothing throttles", 10, nil, 1, false, 10},
		{"no slots", 0, hours(0.5), 1, false, 0},
		{"others have more than is there", -3, hours(0), 1, true, -3},
		{"hours", 10, hours(0.3), 1, false, 3},
		{"a budget", 10, nil, 0.3, false, 3},
		{"both", 100, hours(0.3), 0.5, false, 15},
		{"at least one", 10, hours(0.01), 1, false, 1},
		{"outside of the hours", 10, hours(0), 1, false, 0},
		{"withheld", 10, hours(1), 1, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cand := &Candidate{upstream: &upstream{}, throttle: &throttle{}}
			cand.throttle.hours.Store(c.hours)
			cand.budget.set(c.budget)
			cand.withheld.Store(c.withheld)
			if got := cand.throttled(c.slots); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

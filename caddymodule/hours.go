package caddymodule

import (
	"strconv"
	"strings"
	_ "time/tzdata" // time zones are available without system files, as in a container

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/tidegate/tidegate/upstreams"
)

// HoursConfig is the share of their slots that batches may use in a time range.
type HoursConfig struct {
	// Range is a range of the day, days of the week, or both: 22:00-06:00,
	// Sat,Sun or Mon-Fri 08:00-18:00. A range that crosses midnight belongs to the
	// day on which it begins.
	Range string `json:"range"`
	// Share is the part of the slots, 0 to 1.
	Share float64 `json:"share"`
}

// hours configures the share by time of day.
func (b BatchConfig) hours() upstreams.HoursConfig {
	out := upstreams.HoursConfig{Else: b.HoursElse, Zone: b.HoursZone}
	for _, h := range b.Hours {
		out.Ranges = append(out.Ranges, upstreams.HoursRange{When: h.Range, Share: h.Share})
	}
	return out
}

// hours parses a range and its share:
//
//	hours <range> <share>
//	hours <days> <range> <share>
func hours(to *[]HoursConfig) option {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.ArgErr()
		}
		last := len(args) - 1
		h := HoursConfig{Range: strings.Join(args[:last], " ")}
		if err := upstreams.ParseHours(h.Range); err != nil {
			return d.Errf("hours %v", err)
		}
		var err error
		if h.Share, err = parseShare(args[last]); err != nil {
			return d.Errf("hours must end with a %s, not %q", wantShare, args[last])
		}
		*to = append(*to, h)
		return nil
	}
}

// share parses the share of all other hours.
func share(to **float64) option {
	return func(d *caddyfile.Dispenser) error {
		var value float64
		if err := parsed(&value, "a "+wantShare, parseShare)(d); err != nil {
			return err
		}
		*to = &value
		return nil
	}
}

const wantShare = `share: a number from 0 to 1, "full" or "none"`

func parseShare(s string) (float64, error) {
	switch s {
	case "full":
		return 1, nil
	case "none":
		return 0, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err == nil && !(n >= 0 && n <= 1) { // NaN is refused too
		err = strconv.ErrRange
	}
	return n, err
}

// zone parses the name of a time zone.
func zone(to *string) option {
	return parsed(to, "the name of a time zone such as Europe/Berlin", func(s string) (string, error) {
		_, err := upstreams.ParseZone(s)
		return s, err
	})
}

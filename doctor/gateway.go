package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/engine"
	"github.com/tidegate/tidegate/internal/descriptors"
)

// gateway checks the process.
func (d *Doctor) gateway() []Check {
	keys := Check{Area: Gateway, Name: "API keys", Verdict: Passed, Found: "clients must show one"}
	switch {
	case d.Keys():
	case d.Local != nil && d.Local():
		keys.Verdict, keys.Found = Doubted, "none configured; clients on other machines are refused"
		keys.Remedy = "Every client on this machine may use it. Set api_keys, also to admit other machines."
	default:
		keys.Verdict, keys.Found = Doubted, "none configured"
		keys.Remedy = "Every client that reaches the gateway may use it. Set api_keys, or make sure that a proxy in front authenticates clients."
	}
	others := Check{Area: Gateway, Name: "other gateways", Verdict: Passed, Found: "none shares this store"}
	if n := d.Pool.Peers(); n > 0 {
		others.Found = fmt.Sprintf("%d share this store and the upstreams", n)
	}
	all := append([]Check{keys, d.descriptors(), d.slots(), d.memory(), others}, d.hours()...)
	all = append(all, d.resources()...)
	return append(all, d.permissions()...)
}

// permissions reports files that other users of the machine have access to.
func (d *Doctor) permissions() []Check {
	if d.Loose == nil {
		return nil
	}
	left := d.Loose()
	if len(left) == 0 {
		return nil
	}
	return []Check{{
		Area: Gateway, Name: "permissions of files", Verdict: Doubted,
		Found:  "other users have access to " + strings.Join(left, ", "),
		Remedy: "take it away (chmod go-rwx) or give the files to the gateway's user",
	}}
}

// shortages checks the resources of the process and of this machine.
func (d *Doctor) shortages() []Check { return append([]Check{d.descriptors()}, d.resources()...) }

// slots compares the limit of lines in flight with the servers' slots for this
// gateway. A gateway with the role serve has none.
func (d *Doctor) slots() Check {
	if role := d.Engine.Role(); !role.Works() {
		return Check{Area: Gateway, Name: "lines at a time", Verdict: Passed, Found: leftToOthers(role)}
	}
	slots, limit := d.Pool.Slots(), d.Engine.Capacity().MaxInFlight
	c := Check{Area: Gateway, Name: "lines at a time", Verdict: Passed, Found: fmt.Sprintf("%d, for %d slots that batches may take", limit, slots)}
	if limit < slots {
		c.Verdict = Doubted
		c.Remedy = fmt.Sprintf("%d slots stay free of batches: leave max_in_flight out, or set it to %d or more.", slots-limit, slots)
	}
	return c
}

// leftToOthers describes batch work on a gateway that does none.
func leftToOthers(role batch.Role) string {
	return fmt.Sprintf("none: with the role %s it leaves batch work to other gateways", role)
}

// memory reports whether the request memory limit leaves slots idle.
func (d *Doctor) memory() Check {
	m := d.Engine.Capacity().Memory
	c := Check{Area: Gateway, Name: "memory for requests", Verdict: Passed, Found: m.String(), Topic: MemoryTopic}
	if m.Wanted > 0 {
		c.Verdict, c.Found, c.Remedy = Doubted, "slots stay free: "+m.Shortage(), m.Remedy()
	}
	return c
}

const (
	fewDescriptors = 4096
	// muchOfDescriptors is the part of the limit above which the check warns.
	muchOfDescriptors = 0.8
)

// descriptors checks how many files the process may open: each client connection and
// each request to an upstream needs one.
func (d *Doctor) descriptors() Check {
	c := Check{Area: Gateway, Name: "file descriptors", Verdict: Passed}
	open, most := d.Descriptors()
	if most <= 0 {
		c.Verdict, c.Found = Unknown, "not available on this system"
		return c
	}
	needed := int64(fewDescriptors)
	for _, u := range d.Pool.Status() {
		needed += int64(u.MaxNumSeqs)
	}
	c.Found = fmt.Sprintf("%d of %d are in use", open, most)
	short := d.Pool.Shortage()
	if short != nil && short.Remedy != descriptors.Remedy {
		short = nil // resources reports it
	}
	switch {
	case short != nil:
		c.Verdict = Failed
		c.Found += fmt.Sprintf("; %d connections to servers could not be made since %s", short.Count, short.Since.UTC().Format(time.TimeOnly))
	case float64(open) > muchOfDescriptors*float64(most):
		c.Verdict = Failed
	case most < needed:
		c.Verdict = Doubted
		c.Found += fmt.Sprintf("; with these servers %d may be needed", needed)
	default:
		return c
	}
	c.Remedy = descriptors.Remedy
	return c
}

// resources checks for a shortage of this machine other than of descriptors.
func (d *Doctor) resources() []Check {
	short := d.Pool.Shortage()
	if short == nil || short.Remedy == descriptors.Remedy {
		return nil
	}
	return []Check{{
		Area: Gateway, Name: short.Resource, Verdict: Failed, Remedy: short.Remedy,
		Found: fmt.Sprintf("used up; %d connections to servers could not be made since %s", short.Count, short.Since.UTC().Format(time.TimeOnly)),
	}}
}

// asked checks the health of store, queue and files.
func (d *Doctor) asked(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.parts(d.Health(ctx))
}

// parts reports the health of store, queue and files.
func (d *Doctor) parts(h engine.Health) []Check {
	checks := make([]Check, 0, 4+len(h.Stopped))
	for _, p := range []struct{ area, says, remedy string }{
		{Store, h.Store, "Live requests are served; files and batches answer 503. Start the database, and check its log."},
		{Queue, h.Queue, "Batches continue with the store. Start Redis, and check its log."},
		{Files, h.Files, "Uploads are refused and batches cannot end. Check the disk, or the object store."},
	} {
		c := Check{Area: p.area, Name: "answers", Verdict: Passed, Found: "yes", Topic: PartTopic}
		if p.area == Files {
			c.Name = "can be written"
		}
		if p.says != engine.StatusOK {
			c.Verdict, c.Found, c.Remedy = Failed, p.says, p.remedy
			if p.area == Queue {
				c.Verdict = Doubted
			}
		}
		checks = append(checks, c)
	}
	held := Check{Area: Gateway, Name: "batch work", Verdict: Passed, Topic: PartTopic, Found: fmt.Sprintf("running; %d lines are in flight, %d at most", h.InFlight, d.Engine.Capacity().MaxInFlight)}
	if !d.Engine.Role().Works() {
		held.Found = leftToOthers(d.Engine.Role())
	}
	const continues = "It continues automatically when the cause is gone."
	var common []string
	var apart []Check // of batches and models
	for _, p := range h.Paused {
		switch {
		case p.Model != "":
			apart = append(apart, Check{Area: Gateway, Name: "batch work on a model", Verdict: Doubted, Topic: PartTopic, Found: "held up: " + p.Text, Remedy: continues, Model: p.Model})
		case p.Tenant != "":
			apart = append(apart, Check{Area: Gateway, Name: "work on a batch", Verdict: Doubted, Topic: PartTopic, Found: "held up: " + p.Text, Remedy: continues, Tenant: p.Tenant})
		default:
			common = append(common, p.Text)
		}
	}
	if len(common) > 0 {
		held.Verdict, held.Found, held.Remedy = Doubted, "held up: "+strings.Join(common, "; "), continues
	}
	checks = append(append(checks, held), apart...)
	if len(h.Housekeeping) > 0 {
		checks = append(checks, Check{
			Area: Gateway, Name: "housekeeping", Verdict: Doubted, Topic: PartTopic, Found: strings.Join(h.Housekeeping.Texts(), "; "),
			Remedy: "Batch work continues. The next round tries again; if it keeps failing, check the log and the part that it names.",
		})
	}
	for _, b := range h.Stopped {
		checks = append(checks, Check{
			Area: Gateway, Name: "batch " + b.ID, Verdict: Doubted, Topic: PartTopic, Found: "paused: " + b.Reason, Tenant: b.Tenant,
			Remedy: "Correct the cause and resume the batch, or cancel it.",
		})
	}
	return checks
}

// Maximum clock difference. Leases and deadlines use the database's clock; only
// displayed times are affected.
const (
	clockDoubt = time.Second
	clockFail  = 10 * time.Second
)

// clock compares this machine's clock with the store's.
func (d *Doctor) clock(ctx context.Context) []Check {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := Check{Area: Store, Name: "clock against this machine's", Verdict: Passed}
	before := d.Now()
	theirs, err := d.Engine.StoreTime(ctx)
	if err != nil {
		c.Verdict, c.Found = Unknown, err.Error()
		return []Check{c}
	}
	after := d.Now()
	apart := before.Add(after.Sub(before) / 2).Sub(theirs)
	word := "behind"
	if apart < 0 {
		apart, word = -apart, "ahead"
	}
	if c.Found = "the same"; apart.Round(time.Millisecond) > 0 {
		c.Found = fmt.Sprintf("%s %s", apart.Round(time.Millisecond), word)
	}
	if apart <= clockDoubt {
		return []Check{c}
	}
	c.Verdict, c.Remedy = Doubted, "Leases and deadlines follow the database's clock; times that people read are off. Run an NTP client on both machines."
	if apart > clockFail {
		c.Verdict = Failed
	}
	return []Check{c}
}

// space checks the disk of the files.
func (d *Doctor) space() []Check {
	c := Check{Area: Files, Name: "disk space", Verdict: Passed, Topic: SpaceTopic}
	s, known, err := d.Engine.Space()
	switch {
	case err != nil:
		c.Verdict, c.Found = Unknown, err.Error()
	case !known:
		c.Found = "no known limit"
	default:
		c.Found = s.String()
		if s.Full() {
			c.Verdict = Failed
		} else if s.Filling() {
			c.Verdict = Doubted
		}
		if c.Verdict != Passed {
			c.Remedy = "Delete files and batches that are not needed (the dashboard's Files page shows the largest), shorten input_ttl and output_ttl, or give the disk more room."
		}
	}
	return []Check{c}
}

// contents reports whether contents and rows match.
func (d *Doctor) contents() Check {
	c := Check{Area: Files, Name: "contents against the database", Verdict: Passed}
	missing, looked := d.Engine.Missing()
	unknown, swept := d.Engine.Quarantine()
	switch {
	case !looked || !swept:
		c.Verdict, c.Found = Unknown, "not compared yet"
	case missing.Files > 0:
		c.Verdict, c.Found = Failed, fmt.Sprintf("%d files have no content, among them %s", missing.Files, strings.Join(missing.Some, ", "))
		c.Remedy = "Restore the contents from a backup, or delete these files. Batches that need one of them cannot continue."
	case unknown.Unknown > 0:
		c.Verdict, c.Found = Doubted, fmt.Sprintf("%d of %d contents have no row; the oldest is known for %s", unknown.Unknown, unknown.Total, d.Now().Sub(unknown.Oldest).Round(time.Minute))
		c.Remedy = "They are kept and deleted after the quarantine time, as leftovers of crashes are."
		if unknown.TooMany() {
			c.Verdict = Failed
			c.Remedy = "So many are no leftovers of crashes: rows are missing. None is deleted. Restore the database that knows them, or delete them yourself."
		}
	default:
		c.Found = fmt.Sprintf("%d contents at the last comparison, each has a row", unknown.Total)
	}
	return c
}

// errText shortens the error of a failed check.
func errText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it did not answer in time"
	}
	return err.Error()
}

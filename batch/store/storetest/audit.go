package storetest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tidegate/tidegate/access"
	"github.com/tidegate/tidegate/batch"
)

var (
	auditor = access.Identity{KeyID: "key_0", Name: "Ops \u202eü", Tenant: "ops", Scopes: []access.Scope{access.Admin}}
	origin  = access.Origin{Via: access.ViaCLI, Address: "2001:db8::1", RequestID: "req-1"}
)

// asClient returns a context whose changes are audited.
func (e *env) asClient() context.Context {
	return access.WithOrigin(access.With(e.Context(), auditor), origin)
}

// audit returns the newest entries.
func (e *env) audit(q batch.AuditQuery) []batch.AuditEntry {
	e.Helper()
	if q.Limit == 0 {
		q.Limit = 100
	}
	page, _, err := e.s.AuditEntries(e.Context(), q)
	e.ok(err)
	return page
}

// actions returns entries, the oldest first, as action, object, tenant and detail.
func actions(page []batch.AuditEntry) (all []string) {
	for _, a := range page {
		all = append([]string{strings.TrimSpace(strings.Join([]string{string(a.Action), a.Object, a.Tenant, a.Detail}, " "))}, all...)
	}
	return all
}

// logged adds n entries with an outcome, one a second.
func (e *env) logged(n int, outcome batch.AuditOutcome) {
	e.Helper()
	for range n {
		e.ok(e.s.AddAudit(e.Context(), []batch.AuditEntry{{Action: batch.AuditServerDrain, Outcome: outcome, Origin: origin}}))
		e.db.Advance(time.Second)
	}
}

var auditTests = []test{
	{"an entry is kept with all fields, also after a restart", func(e *env) {
		want := batch.AuditEntry{
			Action: batch.AuditServerDrain, Outcome: batch.AuditRefused, Object: "http://gpu:8000", Tenant: "t", Detail: "d ü",
			KeyID: "key_0", KeyName: "n", KeyTenant: "ops", Origin: origin, Age: time.Minute,
		}
		began := e.now()
		e.ok(e.s.AddAudit(e.Context(), []batch.AuditEntry{want}))
		ended := e.now()
		e.reopen()
		page := e.audit(batch.AuditQuery{})
		if len(page) != 1 || page[0].Seq <= 0 {
			e.Fatalf("got %+v, want one entry", page)
		}
		e.during("at", page[0].At, began.Add(-time.Minute), ended.Add(-time.Minute))
		want.Seq, want.At, want.Age = page[0].Seq, page[0].At, 0
		equal(e, "entry", page[0], want)
	}},
	{"text that a database cannot hold is replaced", func(e *env) {
		e.ok(e.s.AddAudit(e.Context(), []batch.AuditEntry{{
			Action: batch.AuditServerDrain, Outcome: batch.AuditDone, Object: "a\x00b\xff", Detail: strings.Repeat("é", 1000),
			Origin: access.Origin{Via: "\x00", Address: "\xff", RequestID: "\x00"},
		}}))
		got := e.audit(batch.AuditQuery{})[0]
		equal(e, "object", got.Object, "a\uFFFDb\uFFFD")
		if len(got.Detail) > 504 || !strings.HasPrefix(got.Detail, "éé") {
			e.Fatalf("detail has %d bytes", len(got.Detail))
		}
	}},
	{"changes by a client are audited once, those of the gateway never", func(e *env) {
		ctx := e.asClient()
		f, other := e.file(nil), e.file(nil)
		b, pausing, deleted := e.running(1), e.running(1), e.running(1)
		unnamed, named := e.key(nil), e.newKey()
		e.ok(e.s.DeleteFile(e.Context(), tenant, other.ID)) // by the gateway
		_, err := e.s.PauseBatch(e.Context(), tenant, deleted.ID, "stopped")
		e.ok(err)
		_, err = e.s.RevokeKey(e.Context(), unnamed.ID, nil)
		e.ok(err)
		equal(e, "entries of the gateway", e.audit(batch.AuditQuery{}), nil)

		for range 2 { // the second time nothing changes
			_ = e.s.DeleteFile(ctx, tenant, f.ID)
			_, err = e.s.CancelBatch(ctx, tenant, b.ID)
			e.ok(err)
			_, err = e.s.PauseBatch(ctx, tenant, pausing.ID, "")
			e.ok(err)
			_, err = e.s.PrioritizeBatch(ctx, tenant, pausing.ID, 7)
			e.ok(err)
		}
		for range 2 {
			_, err = e.s.ResumeBatch(ctx, tenant, pausing.ID)
			e.ok(err)
			_, _ = e.s.DeleteBatch(ctx, tenant, deleted.ID, batch.Deletion{Input: true})
			_, _ = e.s.CreateKey(ctx, named, nil)
		}
		_, err = e.s.RotateKey(ctx, named.ID, access.Sum("rotated"), time.Minute)
		e.ok(err)
		for range 2 {
			_, err = e.s.ChangeKeyLimits(ctx, named.ID, func(l access.Limits) (access.Limits, error) {
				l.RequestsPerMinute, l.CostPerMonth = 60, 12_500_000_000
				return l, nil
			})
			e.ok(err)
		}
		_, err = e.s.ChangeKeyLimits(ctx, named.ID, func(l access.Limits) (access.Limits, error) {
			l.RequestsPerMinute = 0
			return l, nil
		})
		e.ok(err)
		_, err = e.s.ChangeKeyLimits(ctx, named.ID, func(l access.Limits) (access.Limits, error) { return l, errors.New("refused") })
		if err == nil {
			e.Fatal("got no error of a refused change")
		}
		for range 2 {
			_, err = e.s.RevokeKey(ctx, named.ID, nil)
			e.ok(err)
		}
		_, err = e.s.RotateKey(ctx, named.ID, access.Sum("again"), 0)
		e.is(err, batch.ErrConflict)
		_, err = e.s.DeleteBatch(ctx, tenant, pausing.ID, batch.Deletion{EndedOnly: true})
		e.is(err, batch.ErrConflict)
		_, err = e.s.CancelBatch(ctx, "other", pausing.ID)
		e.is(err, batch.ErrNotFound)

		page := e.audit(batch.AuditQuery{})
		equal(e, "entries", actions(page), []string{
			"file.delete " + f.ID + " " + tenant,
			"batch.cancel " + b.ID + " " + tenant,
			"batch.pause " + pausing.ID + " " + tenant,
			"batch.priority " + pausing.ID + " " + tenant + " priority 7",
			"batch.resume " + pausing.ID + " " + tenant,
			"batch.delete " + deleted.ID + " " + tenant + " with its input " + deleted.InputFileID,
			"key.create " + named.ID + " " + tenant + " name Team ü, scopes live batch",
			"key.rotate " + named.ID + " " + tenant + " name Team ü, the previous key is accepted for 1m0s",
			"key.limits " + named.ID + " " + tenant + " name Team ü, requests_per_minute 60 instead of none, cost_per_month 12.5 instead of none",
			"key.limits " + named.ID + " " + tenant + " name Team ü, requests_per_minute none instead of 60",
			"key.revoke " + named.ID + " " + tenant + " name Team ü",
		})
		for _, a := range page {
			equal(e, "origin", a.Origin, origin)
			equal(e, "client", [3]string{a.KeyID, a.KeyName, a.KeyTenant}, [3]string{auditor.KeyID, auditor.Name, auditor.Tenant})
			equal(e, "outcome", a.Outcome, batch.AuditDone)
		}
	}},
	{"entries are listed in pages and periods, the newest first", func(e *env) {
		began := e.now()
		e.logged(5, batch.AuditDone)
		all := e.audit(batch.AuditQuery{})
		var got []batch.AuditEntry
		for q := (batch.AuditQuery{Limit: 2}); ; q.After = got[len(got)-1].Seq {
			page, more, err := e.s.AuditEntries(e.Context(), q)
			e.ok(err)
			got = append(got, page...)
			equal(e, "more", more, len(got) < len(all))
			if !more {
				break
			}
		}
		equal(e, "entries", got, all)
		for i := range all[1:] {
			if all[i].Seq <= all[i+1].Seq || all[i].At.Before(all[i+1].At) {
				e.Fatalf("not the newest first: %+v", all)
			}
		}
		equal(e, "since", e.audit(batch.AuditQuery{Since: all[1].At}), all[:2])
		equal(e, "until", e.audit(batch.AuditQuery{Until: all[1].At}), all[2:])
		equal(e, "page of a period", e.audit(batch.AuditQuery{Since: all[3].At, Until: all[0].At, After: all[2].Seq}), all[3:4])
		equal(e, "before all", e.audit(batch.AuditQuery{Until: began}), nil)
		_, _, err := e.s.AuditEntries(e.Context(), batch.AuditQuery{After: 1 << 40, Limit: 1})
		e.is(err, batch.ErrBadCursor)
		equal(e, "after an entry whose time is known", e.audit(batch.AuditQuery{After: all[2].Seq, AfterAt: all[2].At}), all[3:])
		e.logged(2, batch.AuditRefused)
		refused := e.audit(batch.AuditQuery{})[0]
		_, err = e.s.PruneAudit(e.Context(), batch.AuditRetention{Age: time.Hour, Done: 5}, 10)
		e.ok(err)
		_, _, err = e.s.AuditEntries(e.Context(), batch.AuditQuery{After: refused.Seq, Limit: 1})
		e.is(err, batch.ErrBadCursor)
		equal(e, "after an entry that was removed", e.audit(batch.AuditQuery{After: refused.Seq, AfterAt: refused.At}), all)
	}},
	{"old entries and those beyond the numbers to keep are removed, each outcome for itself", func(e *env) {
		keep := batch.AuditRetention{Age: time.Hour, Done: 3, Refused: 2}
		e.logged(4, batch.AuditDone)
		e.logged(5, batch.AuditRefused)
		all := e.audit(batch.AuditQuery{})
		removed := 0
		for {
			n, err := e.s.PruneAudit(e.Context(), keep, 1)
			e.ok(err)
			if n == 0 {
				break
			}
			removed += n
		}
		equal(e, "removed", removed, 4)
		equal(e, "entries", e.audit(batch.AuditQuery{}), append(all[:2:2], all[5:8]...))
		e.db.Advance(time.Hour)
		e.logged(1, batch.AuditDone)
		n, err := e.s.PruneAudit(e.Context(), keep, 100)
		e.ok(err)
		equal(e, "old ones", n, 5)
		equal(e, "left", len(e.audit(batch.AuditQuery{})), 1)
	}},
}

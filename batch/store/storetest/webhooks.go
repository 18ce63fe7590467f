package storetest

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/batch"
)

// finals are the final states of batches.
var finals = []batch.Status{batch.Completed, batch.Failed, batch.Cancelled, batch.Expired}

// target sets an endpoint of a tenant for these states, or for all of them.
func (e *env) target(endpoint, tenant string, events ...batch.Status) {
	e.Helper()
	if len(events) == 0 {
		events = finals
	}
	var targets []batch.WebhookTarget
	for _, event := range events {
		targets = append(targets, batch.WebhookTarget{Endpoint: endpoint, Tenant: tenant, Event: event, Metadata: strings.HasPrefix(endpoint, batch.MetadataEndpoint)})
	}
	e.ok(e.s.SetWebhookTargets(e.Context(), targets))
}

// claimDelivery claims the only due delivery of an endpoint.
func (e *env) claimDelivery(endpoint string) batch.Delivery {
	e.Helper()
	all := e.claimDeliveries(endpoint)
	if len(all) != 1 {
		e.Fatalf("claimed %d deliveries, want 1: %+v", len(all), all)
	}
	return all[0]
}

func (e *env) claimDeliveries(endpoint string) []batch.Delivery {
	e.Helper()
	all, err := e.s.ClaimDeliveries(e.Context(), "gateway", endpoint, lease, 100, nil)
	e.ok(err)
	return all
}

// claimedTenants claims deliveries except those of busy tenants, and returns their tenants.
func (e *env) claimedTenants(endpoint string, limit int, busy ...string) (tenants []string) {
	e.Helper()
	all, err := e.s.ClaimDeliveries(e.Context(), "gateway", endpoint, lease, limit, busy)
	e.ok(err)
	for _, d := range all {
		tenants = append(tenants, d.Tenant)
	}
	return tenants
}

// deliveries lists deliveries as "batch event endpoint url", sorted.
func (e *env) deliveries(q batch.DeliveryQuery) []string {
	e.Helper()
	q.Limit = 100
	page, err := e.s.Deliveries(e.Context(), q)
	e.ok(err)
	out := make([]string, len(page))
	for i, d := range page {
		out[i] = strings.TrimSpace(d.BatchID + " " + string(d.Event) + " " + d.Endpoint + " " + d.URL)
	}
	slices.Sort(out)
	return out
}

func (e *env) pruneWebhooks() int {
	e.Helper()
	n, err := e.s.PruneWebhooks(e.Context(), 100)
	e.ok(err)
	return n
}

var webhookTests = []test{
	{"every end of a batch is queued once, with the transaction that ends it", func(e *env) {
		e.target("hook", tenant)
		completed, cancelled, failed := e.completed(nil), e.cancelled(), e.failed()
		deleted, running := e.running(1), e.running(1)
		_, err := e.s.DeleteBatch(e.Context(), tenant, deleted.ID, batch.Deletion{})
		e.ok(err)
		e.cancel(running)
		_, err = e.s.DeleteBatch(e.Context(), tenant, running.ID, batch.Deletion{})
		e.ok(err)
		expired := e.expired()
		want := []string{
			completed.ID + " completed hook", cancelled.ID + " cancelled hook", failed.ID + " failed hook",
			deleted.ID + " cancelled hook", running.ID + " cancelled hook", expired.ID + " expired hook",
		}
		slices.Sort(want)
		equal(e, "deliveries", e.deliveries(batch.DeliveryQuery{}), want)
		_, err = e.s.DeleteBatch(e.Context(), tenant, completed.ID, batch.Deletion{}) // it has ended: no second event
		e.ok(err)
		equal(e, "deliveries after a deletion", e.deliveries(batch.DeliveryQuery{}), want)
	}},
	{"a finalizer that lost its claim queues nothing", func(e *env) {
		e.target("hook", tenant)
		b := e.running(1)
		e.work(b, 0, 1)
		c := e.claimBatch(b.ID)
		e.db.Advance(lease)
		second := e.claimBatch(b.ID)
		e.is(e.s.FinishBatch(e.Context(), c, batch.Outcome{}), batch.ErrStale)
		equal(e, "deliveries", e.deliveries(batch.DeliveryQuery{}), nil)
		e.ok(e.s.FinishBatch(e.Context(), second, batch.Outcome{}))
		equal(e, "deliveries", e.deliveries(batch.DeliveryQuery{}), []string{b.ID + " completed hook"})
	}},
	{"a delivery says when the batch ended and is due at once", func(e *env) {
		e.target("hook", tenant)
		b := e.completed(nil)
		e.db.Advance(time.Minute)
		d := e.claimDelivery("hook")
		equal(e, "created", d.CreatedAt, b.CompletedAt)
		if d.Age < time.Minute || d.Age > lease || d.Attempts != 1 || d.State != batch.DeliveryPending || d.Tenant != tenant || d.Event != batch.Completed {
			e.Fatalf("delivery is %+v", d)
		}
	}},
	{"deliveries of busy tenants are not claimed", func(e *env) {
		e.target("all", batch.AllTenants, batch.Completed)
		for range 3 {
			e.completed(nil)
		}
		e.completed(func(b *batch.NewBatch) { b.Tenant = rival })
		equal(e, "claimed without both", e.claimedTenants("all", 10, tenant, rival), nil)
		equal(e, "claimed without one", e.claimedTenants("all", 10, tenant), []string{rival})
		equal(e, "claimed without another", e.claimedTenants("all", 2, rival), []string{tenant, tenant})
		equal(e, "claimed at last", e.claimedTenants("all", 10), []string{tenant})
	}},
	{"targets are of a tenant and of events", func(e *env) {
		e.target("all", batch.AllTenants, batch.Completed)
		e.target("failures", tenant, batch.Failed, batch.Expired)
		e.target("other", "other", batch.Completed)
		e.target("both", tenant, batch.Completed)
		e.target("both", batch.AllTenants, batch.Completed)
		b := e.completed(nil)
		f := e.failed()
		want := []string{b.ID + " completed all", b.ID + " completed both", f.ID + " failed failures"}
		slices.Sort(want)
		equal(e, "deliveries", e.deliveries(batch.DeliveryQuery{}), want)
		equal(e, "deliveries of another tenant", e.deliveries(batch.DeliveryQuery{Tenant: "other"}), nil)
		equal(e, "deliveries of the tenant", e.deliveries(batch.DeliveryQuery{Tenant: tenant}), want)
	}},
	{"a batch that ended before its target was set is not queued", func(e *env) {
		e.completed(nil)
		e.target("hook", tenant)
		equal(e, "deliveries", e.claimDeliveries("hook"), nil)
	}},
	{"an address in the metadata is used where metadata is a target", func(e *env) {
		const url = "https://hooks.example.com/done?é"
		with := func(n *batch.NewBatch) { n.Metadata = map[string]string{batch.WebhookKey: url, "k": "\x01\"\\"} }
		e.completed(with)
		equal(e, "without a target", e.deliveries(batch.DeliveryQuery{}), nil)
		e.target(batch.MetadataEndpoint, tenant)
		e.completed(nil)
		e.completed(func(n *batch.NewBatch) { n.Metadata = map[string]string{batch.WebhookKey: "https://a\x00"} })
		b := e.completed(with)
		equal(e, "deliveries", e.deliveries(batch.DeliveryQuery{}), []string{b.ID + " completed metadata " + url})
		equal(e, "address", e.claimDelivery(batch.MetadataEndpoint).URL, url)
	}},
	{"a claim holds for its lease", func(e *env) {
		e.target("hook", tenant)
		e.completed(nil)
		first := e.claimDelivery("hook")
		equal(e, "claimed twice", e.claimDeliveries("hook"), nil)
		e.db.Advance(lease)
		second := e.claimDelivery("hook")
		equal(e, "attempts", second.Attempts, first.Attempts+1)
		delivered := batch.DeliveryResult{State: batch.DeliveryDelivered, HTTPStatus: 200}
		e.is(e.s.FinishDelivery(e.Context(), first, delivered), batch.ErrStale)
		e.ok(e.s.FinishDelivery(e.Context(), second, delivered))
		e.is(e.s.FinishDelivery(e.Context(), second, delivered), batch.ErrStale)
		e.db.Advance(2 * lease)
		equal(e, "claimed after the end", e.claimDeliveries("hook"), nil)
	}},
	{"a failed attempt is due again after its pause", func(e *env) {
		e.target("hook", tenant)
		e.completed(nil)
		d := e.claimDelivery("hook")
		e.ok(e.s.FinishDelivery(e.Context(), d, batch.DeliveryResult{State: batch.DeliveryPending, RetryIn: lease, HTTPStatus: 503, Error: "bad\x00\xff" + strings.Repeat("é", 1000)}))
		equal(e, "claimed early", e.claimDeliveries("hook"), nil)
		page, err := e.s.Deliveries(e.Context(), batch.DeliveryQuery{State: batch.DeliveryPending, Limit: 10})
		e.ok(err)
		if len(page) != 1 || page[0].HTTPStatus != 503 || !strings.HasPrefix(page[0].Error, "bad\uFFFD") || page[0].Attempts != 1 || !page[0].EndedAt.IsZero() {
			e.Fatalf("deliveries are %+v", page)
		}
		e.db.Advance(lease)
		e.ok(e.s.FinishDelivery(e.Context(), e.claimDelivery("hook"), batch.DeliveryResult{State: batch.DeliveryFailed, HTTPStatus: 410, Error: "gone"}))
		page, err = e.s.Deliveries(e.Context(), batch.DeliveryQuery{Tenant: tenant, State: batch.DeliveryFailed, Limit: 10})
		e.ok(err)
		if len(page) != 1 || page[0].HTTPStatus != 410 || page[0].Error != "gone" || page[0].Attempts != 2 || page[0].EndedAt.IsZero() {
			e.Fatalf("deliveries are %+v", page)
		}
	}},
	{"a store that only one process can open ends claims", func(e *env) {
		e.target("hook", tenant)
		e.completed(nil)
		d := e.claimDelivery("hook")
		e.reopen()
		if !e.db.Exclusive {
			equal(e, "claimed twice", e.claimDeliveries("hook"), nil)
			return
		}
		again := e.claimDelivery("hook")
		equal(e, "attempts", again.Attempts, d.Attempts+1)
		e.is(e.s.FinishDelivery(e.Context(), d, batch.DeliveryResult{State: batch.DeliveryFailed}), batch.ErrStale)
	}},
	{"deliveries are listed in pages, the newest first", func(e *env) {
		e.target("hook", tenant)
		var want []string
		for range 5 {
			want = append(want, e.completed(nil).ID)
		}
		slices.Reverse(want)
		var got []string
		for before := int64(0); ; {
			page, err := e.s.Deliveries(e.Context(), batch.DeliveryQuery{Before: before, Limit: 2})
			e.ok(err)
			if len(page) == 0 {
				break
			}
			for _, d := range page {
				got = append(got, d.BatchID)
				before = d.Seq
			}
		}
		equal(e, "deliveries", got, want)
	}},
	{"deliveries are pruned when they have ended for long", func(e *env) {
		e.target("hook", tenant)
		e.completed(nil)
		e.ok(e.s.FinishDelivery(e.Context(), e.claimDelivery("hook"), batch.DeliveryResult{State: batch.DeliveryDelivered, HTTPStatus: 204}))
		equal(e, "pruned", e.pruneWebhooks(), 0)
		e.db.Advance(batch.WebhookHistory + time.Minute)
		e.target("hook", tenant)
		equal(e, "pruned", e.pruneWebhooks(), 1)
		equal(e, "deliveries", e.deliveries(batch.DeliveryQuery{}), nil)
	}},
	{"a pending delivery is given up only if its endpoint is no target any more", func(e *env) {
		e.target("hook", tenant)
		b := e.completed(nil)
		e.db.Advance(batch.WebhookRetryTime + time.Minute) // every gateway was stopped
		e.target("hook", tenant)
		equal(e, "pruned", e.pruneWebhooks(), 0)
		equal(e, "claimed", e.claimDelivery("hook").BatchID, b.ID)
		e.db.Advance(2 * lease)
		if n := e.pruneWebhooks(); n != len(finals)+1 {
			e.Fatalf("pruned %d, want the %d targets and the delivery", n, len(finals))
		}
		page, err := e.s.Deliveries(e.Context(), batch.DeliveryQuery{State: batch.DeliveryFailed, Limit: 10})
		e.ok(err)
		if len(page) != 1 || page[0].Error == "" || page[0].EndedAt.IsZero() {
			e.Fatalf("deliveries are %+v", page)
		}
		e.completed(nil)
		equal(e, "queued for a removed target", len(e.deliveries(batch.DeliveryQuery{})), 1)
	}},
	{"concurrent claims get different deliveries", func(e *env) {
		e.target("hook", tenant)
		const n = 12
		for range n {
			e.completed(nil)
		}
		var (
			wg   sync.WaitGroup
			got  [4][]batch.Delivery
			errs [4]error
		)
		for i := range got {
			wg.Go(func() {
				for {
					claimed, err := e.s.ClaimDeliveries(e.Context(), "gateway", "hook", lease, 2, nil)
					if err != nil || len(claimed) == 0 {
						errs[i] = err
						return
					}
					got[i] = append(got[i], claimed...)
				}
			})
		}
		wg.Wait()
		seen := make(map[int64]bool)
		for i := range got {
			e.ok(errs[i])
			for _, d := range got[i] {
				if seen[d.Seq] {
					e.Fatalf("delivery %d was claimed twice", d.Seq)
				}
				seen[d.Seq] = true
			}
		}
		equal(e, "claimed", len(seen), n)
	}},
}

package upload

import (
	"context"
	"errors"

	"github.com/tidegate/tidegate/batch"
)

// The bytes by which a content of unknown size is held in advance, so that few of its writes
// ask the database.
const (
	minAhead = 64 << 10
	maxAhead = 16 << 20
)

// Quota returns the limits that the store enforces for new objects of a tenant.
func (s *Service) Quota(tenant string) batch.Quota {
	l := s.limits()
	return batch.Quota{
		Tenant: l.Of(s.Tenants[tenant]),
		All:    batch.StorageLimit{Bytes: l.MaxTotalBytes, Files: int64(l.MaxTotalFiles), Uploads: int64(l.MaxTotalUploads)},
		Parts:  int64(l.MaxUploadParts),
	}
}

// room holds the space of a content while it arrives. Everything that uses space counts:
// files, results, parts of pending uploads, what was deleted and is not removed yet, and what
// else arrives at this gateway. What arrives at other gateways counts when it has a row: the
// store checks the same limits then.
type room struct {
	*Hold
	service *Service
	counted int64 // bytes that the content takes the place of
	known   bool  // whether its size was declared
}

// admit holds the declared bytes of a new content, or returns a *batch.QuotaError. The content
// may become larger.
func (s *Service) admit(ctx context.Context, tenant string, declared int64) (*room, error) {
	r := &room{Hold: &Hold{arriving: s.arriving(), tenant: tenant}, service: s, known: declared > 0}
	if err := r.hold(ctx, batch.Stored{Files: 1, Bytes: max(0, declared)}); err != nil {
		return nil, err
	}
	return r, nil
}

// replace returns the room of a content that takes the place of others, of n bytes.
func (s *Service) replace(tenant string, n int64) *room {
	return &room{Hold: &Hold{arriving: s.arriving(), tenant: tenant}, service: s, counted: n, known: true}
}

// reach holds the space for a content of size bytes, or returns a *batch.QuotaError.
func (r *room) reach(ctx context.Context, size int64) error {
	need := size - r.counted - r.held.Bytes
	if need <= 0 || !r.limitsBytes() {
		return nil
	}
	more := batch.Stored{Bytes: need}
	if r.known {
		return r.hold(ctx, more)
	}
	return r.hold(ctx, batch.Stored{Bytes: max(need, min(max(size, minAhead), maxAhead))}, more)
}

// hold counts the first of several amounts that fits, the largest first, or returns a
// *batch.QuotaError.
func (r *room) hold(ctx context.Context, amounts ...batch.Stored) error {
	final, err := r.try(ctx, amounts)
	if final {
		return err
	}
	r.arriving.recording.Lock()
	defer r.arriving.recording.Unlock()
	_, err = r.try(ctx, amounts)
	return err
}

// try is hold without waiting for contents that are being recorded. They may count twice:
// final is false if the last amount would fit without what arrives. The error does not count
// what the content itself holds, because that is not stored.
func (r *room) try(ctx context.Context, amounts []batch.Stored) (final bool, err error) {
	q := r.service.Quota(r.tenant)
	stored, all, err := r.service.stored(ctx, r.tenant, q, amounts[0])
	if err != nil {
		return true, err
	}
	for _, more := range amounts {
		fits := func(arriving, allArriving batch.Stored) error {
			if err := q.Tenant.Check(stored.Add(arriving), more, false); err != nil {
				return err
			}
			return q.All.Check(all.Add(allArriving), more, true)
		}
		if err = r.take(more, fits); err == nil {
			return true, nil
		}
		final = fits(r.held, r.held) != nil
	}
	if e, ok := errors.AsType[*batch.QuotaError](err); ok && e.Kind == batch.QuotaBytes {
		e.Used -= r.held.Bytes
	}
	return final, err
}

// stored returns what a tenant stores and what all do, each only if it limits more.
func (s *Service) stored(ctx context.Context, tenant string, q batch.Quota, more batch.Stored) (own, all batch.Stored, err error) {
	sum := func(l batch.StorageLimit, tenant string) (batch.Stored, error) {
		if (l.Bytes == 0 || more.Bytes == 0) && (l.Files == 0 || more.Files == 0) {
			return batch.Stored{}, nil
		}
		uses, err := s.Store.Storage(ctx, tenant)
		return batch.StoredOf(uses), err
	}
	if own, err = sum(q.Tenant, tenant); err != nil {
		return own, all, err
	}
	all, err = sum(q.All, batch.AllTenants)
	return own, all, err
}

// limitsBytes reports whether any limit is one of bytes.
func (r *room) limitsBytes() bool {
	q := r.service.Quota(r.tenant)
	return q.Tenant.Bytes > 0 || q.All.Bytes > 0
}

func (s *Service) arriving() *Arriving {
	if s.Arriving != nil {
		return s.Arriving
	}
	return &s.own
}

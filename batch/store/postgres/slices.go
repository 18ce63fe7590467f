package postgres

import (
	"context"
	"time"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/batch/store"
)

// claimsHeld selects the slices of valid claims, claimsKept those of which a claim
// holds only some lines.
const (
	claimed    = `unnest($1::text[], $2::integer[], $3::integer[]) WITH ORDINALITY AS c (id, number, attempt, place) JOIN batches b ON b.id = c.id`
	claimsHeld = `SELECT s.batch, s.number, c.place FROM ` + claimed + `
		JOIN slices s ON s.batch = b.seq AND s.number = c.number AND s.attempt = c.attempt
		WHERE s.lease_until <> 0`
	claimsKept = `SELECT s.batch, s.number, c.place FROM ` + claimed + `
		JOIN slices s ON s.batch = b.seq AND s.number = c.number AND s.kept_attempt = c.attempt
		WHERE s.kept <> 0`
	inOrder = ` ORDER BY s.batch, s.number FOR UPDATE OF s`
)

const sliceColumns = `s.number, s.attempt, s.start, s.length, s.first_line, s.lines, s.done, s.kept`

var (
	activeBatches = declare(`SELECT ` + store.BatchColumns + ` FROM batches WHERE status = 'in_progress' ORDER BY (paused_at IS NOT NULL), priority DESC, expires_at, seq LIMIT $1`)
	inputFile     = declare(`SELECT ` + store.FileColumns + ` FROM files WHERE seq = (SELECT input FROM batches WHERE id = $1)`)

	claimableSlices = declare(`SELECT number FROM slices
		WHERE batch = (SELECT seq FROM batches WHERE id = $1 AND status = 'in_progress' AND paused_at IS NULL) AND NOT finished AND lease_until <= $2
		ORDER BY number LIMIT $3`)

	lapsedSlices = declare(`SELECT number FROM (SELECT number, lease_until FROM slices
			WHERE batch = (SELECT seq FROM batches WHERE id = $1 AND status = 'in_progress' AND paused_at IS NULL) AND NOT finished
			ORDER BY number LIMIT $2) s
		WHERE lease_until <> 0 AND lease_until <= $3 ORDER BY number LIMIT $4`)

	// Rows that are locked are being claimed by another instance. Each slice is
	// found by its whole key, because the statistics of slices_unfinished may be
	// from a time when all slices were finished.
	claimSlices = declare(`UPDATE slices s SET attempt = s.attempt + 1, owner = $1, lease_until = $2,
			kept = CASE WHEN s.kept_until > $5 THEN s.kept ELSE 0 END
		FROM (SELECT f.batch, f.number, r.id, r.place
			FROM unnest($3::text[], $4::integer[]) WITH ORDINALITY AS r (id, number, place)
			JOIN batches b ON b.id = r.id AND b.status = 'in_progress' AND b.paused_at IS NULL
			CROSS JOIN LATERAL (SELECT s.batch, s.number FROM slices s
				WHERE s.batch = b.seq AND s.number = r.number AND NOT s.finished AND s.lease_until <= $5 FOR UPDATE SKIP LOCKED) f) c
		WHERE s.batch = c.batch AND s.number = c.number
		RETURNING c.place, c.id, ` + sliceColumns)
	renewSlices = declare(`UPDATE slices s SET lease_until = $4
		FROM (` + claimsHeld + ` AND b.status = 'in_progress'` + inOrder + `) h
		WHERE s.batch = h.batch AND s.number = h.number RETURNING h.place`)
	// A slice without claimable lines has the lease of its kept lines.
	renewKept = declare(`UPDATE slices s SET kept_until = $4, lease_until = CASE WHEN s.owner = '' AND s.lease_until <> 0 THEN $4 ELSE s.lease_until END
		FROM (` + claimsKept + ` AND b.status = 'in_progress'` + inOrder + `) h
		WHERE s.batch = h.batch AND s.number = h.number RETURNING h.place`)
	releaseSlices = declare(`UPDATE slices s SET owner = '',
			lease_until = CASE WHEN s.kept_until > $4 AND s.done | s.kept = CASE s.lines WHEN 64 THEN -1 ELSE ~(-1::bigint << s.lines) END THEN s.kept_until ELSE 0 END
		FROM (` + claimsHeld + inOrder + `) h
		WHERE s.batch = h.batch AND s.number = h.number`)
	keepLines = declare(`UPDATE slices s SET owner = '', lease_until = 0, kept = k.keep, kept_attempt = s.attempt, kept_until = $5
		FROM (` + claimsHeld + ` AND s.kept_until <= $6` + inOrder + `) h, unnest($4::bigint[]) WITH ORDINALITY AS k (keep, place)
		WHERE s.batch = h.batch AND s.number = h.number AND k.place = h.place`)
	releaseKept = declare(`UPDATE slices s SET kept = 0, kept_until = 0, lease_until = CASE WHEN s.owner = '' THEN 0 ELSE s.lease_until END
		FROM (` + claimsKept + inOrder + `) h
		WHERE s.batch = h.batch AND s.number = h.number`)
)

// ActiveBatches lists the batches that are InProgress.
func (s *Store) ActiveBatches(ctx context.Context, limit int) (batches []batch.Batch, err error) {
	err = s.read(ctx, "listing active batches", func(t *tx) error {
		batches, err = all(ctx, t, store.ScanBatch, activeBatches, store.LimitOf(limit))
		return err
	})
	return batches, err
}

// InputFile returns the file that a batch's input named when the batch was made.
func (s *Store) InputFile(ctx context.Context, batchID string) (file batch.File, err error) {
	err = s.read(ctx, "reading input file", func(t *tx) error {
		file, err = one(ctx, t, store.ScanFile, inputFile, batchID)
		return err
	})
	return file, err
}

// ClaimableSlices lists slices that can be claimed.
func (s *Store) ClaimableSlices(ctx context.Context, batchID string, limit int) (numbers []int, err error) {
	err = s.read(ctx, "listing claimable slices", func(t *tx) error {
		numbers, err = all(ctx, t, store.Value[int], claimableSlices, batchID, t.micros(), store.LimitOf(limit))
		return err
	})
	return numbers, err
}

// LapsedSlices lists slices whose lease has ended.
func (s *Store) LapsedSlices(ctx context.Context, batchID string, limit int) (numbers []int, err error) {
	err = s.read(ctx, "listing lapsed slices", func(t *tx) error {
		numbers, err = all(ctx, t, store.Value[int], lapsedSlices, batchID, batch.LapsedDepth, t.micros(), store.LimitOf(limit))
		return err
	})
	return numbers, err
}

// placed is a slice with its place among the references.
type placed struct {
	batch.Slice
	place int
}

func scanPlaced(r store.Row) (c placed, err error) {
	var id string
	c.Slice, err = store.SliceIn("", &c.place, &id)(r)
	c.BatchID = id
	return c, err
}

// ClaimSlices claims those slices of refs that can be claimed, in their order.
func (s *Store) ClaimSlices(ctx context.Context, by batch.Claimant, refs []batch.SliceRef) ([]batch.Slice, error) {
	ids, numbers := names(refs)
	var found []placed
	err := s.write(ctx, "claiming slices", func(t *tx) (err error) {
		found, err = all(ctx, t, scanPlaced, claimSlices, by.Owner, store.LeaseEnd(t.now, by.Lease), ids, numbers, store.FreeUntil(t.now, by))
		return err
	})
	if err != nil {
		return nil, err
	}
	asked := make([]*batch.Slice, len(refs))
	for i := range found {
		asked[found[i].place-1] = &found[i].Slice
	}
	slices := make([]batch.Slice, 0, len(found))
	for _, s := range asked {
		if s != nil {
			slices = append(slices, *s)
		}
	}
	return slices, nil
}

// names are references as statements take them.
func names(refs []batch.SliceRef) (ids []string, numbers []int32) {
	ids, numbers = make([]string, len(refs)), make([]int32, len(refs))
	for i, r := range refs {
		ids[i], numbers[i] = r.BatchID, int32(r.Number)
	}
	return ids, numbers
}

// columns are claims as statements take them.
func columns(claims []batch.SliceClaim) (ids []string, numbers, attempts []int32) {
	for _, c := range claims {
		ids, numbers, attempts = append(ids, c.BatchID), append(numbers, int32(c.Number)), append(attempts, int32(c.Attempt))
	}
	return ids, numbers, attempts
}

// RenewSlices extends leases. A claim whose slice was finished meanwhile is not
// extended, but it is not lost either.
func (s *Store) RenewSlices(ctx context.Context, claims []batch.SliceClaim, lease time.Duration) ([]batch.SliceClaim, error) {
	ids, numbers, attempts := columns(claims)
	var lost []batch.SliceClaim
	err := s.write(ctx, "renewing slices", func(t *tx) error {
		lost = nil
		until := store.LeaseEnd(t.now, lease)
		places, err := all(ctx, t, store.Value[int], renewSlices, ids, numbers, attempts, until)
		rest := without(claims, places)
		if err != nil || len(rest) == 0 {
			return err
		}
		ids, numbers, attempts := columns(rest)
		places, err = all(ctx, t, store.Value[int], renewKept, ids, numbers, attempts, until)
		if rest = without(rest, places); err != nil || len(rest) == 0 {
			return err
		}
		ids, numbers, _ = columns(rest)
		found, err := all(ctx, t, store.ScanCommitSlice, readSlices, ids, numbers)
		if err != nil {
			return err
		}
		now := store.ByRef(found)
		for _, c := range rest {
			if at := now[c.SliceRef]; store.Stale(c, at) || at.Left() > 0 {
				lost = append(lost, c)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return lost, nil
}

// without leaves out claims by their places, from 1.
func without(claims []batch.SliceClaim, places []int) (rest []batch.SliceClaim) {
	out := make([]bool, len(claims))
	for _, p := range places {
		out[p-1] = true
	}
	for i, c := range claims {
		if !out[i] {
			rest = append(rest, c)
		}
	}
	return rest
}

// ReleaseSlices releases claims.
func (s *Store) ReleaseSlices(ctx context.Context, released []batch.Release, lease time.Duration) error {
	var whole, parted []batch.SliceClaim
	var kept []int64
	for _, r := range released {
		if r.Keep == 0 {
			whole = append(whole, r.SliceClaim)
		} else {
			parted, kept = append(parted, r.SliceClaim), append(kept, int64(r.Keep))
		}
	}
	return s.write(ctx, "releasing slices", func(t *tx) error {
		if len(parted) > 0 {
			ids, numbers, attempts := columns(parted)
			t.later(keepLines, ids, numbers, attempts, kept, store.LeaseEnd(t.now, lease), t.micros())
		}
		if len(whole) > 0 {
			ids, numbers, attempts := columns(whole)
			t.later(releaseSlices, ids, numbers, attempts, t.micros())
			t.later(releaseKept, ids, numbers, attempts)
		}
		return nil
	})
}

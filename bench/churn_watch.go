package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// tableSample is one table at one time.
type tableSample struct {
	Name           string
	Total          int64 // bytes of rows, indexes and TOAST
	Indexes        int64 // bytes
	Toast          int64 // bytes, with its index
	Live, Dead     int64 // rows, as PostgreSQL counts them
	ToastDead      int64 // chunks
	Updated        int64 // rows since the start
	UpdatedInPlace int64 // of these, without a new entry in any index (HOT)
	Autovacuums    int64
}

// statementSample has the totals of a kind of statement since the start.
type statementSample struct {
	Calls  int64
	Millis float64 // inside the server, without the wait for the disk at the end of the transaction
}

// churnPoint has all samples of one time.
type churnPoint struct {
	At     float64 // seconds since the start
	Lines  int64   // of batches that have ended
	Tables []tableSample
	Claim  statementSample
	Commit statementSample // all statements of a group; Calls are groups
	Syncs  statementSample
}

// watchedTables are the tables that a batch writes. The other tables do not change.
var watchedTables = []string{"batches", "files", "gateways", "segments", "slices", "usage_15m"}

// watch samples a database periodically.
type watch struct {
	conn    *pgx.Conn
	samples []churnPoint
}

// newWatch connects to a PostgreSQL that has pg_stat_statements loaded.
func newWatch(ctx context.Context, url string) (*watch, error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	if _, err := c.Exec(ctx, `CREATE EXTENSION IF NOT EXISTS pg_stat_statements`); err != nil {
		c.Close(ctx)
		return nil, fmt.Errorf("preparing to watch statements: %w", err)
	}
	return &watch{conn: c}, nil
}

func (w *watch) close(ctx context.Context) { w.conn.Close(ctx) }

const (
	selectTables = `SELECT c.relname, pg_total_relation_size(c.oid), pg_indexes_size(c.oid),
			coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0),
			s.n_live_tup, s.n_dead_tup, coalesce(t.n_dead_tup, 0), s.n_tup_upd, s.n_tup_hot_upd, s.autovacuum_count
		FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid LEFT JOIN pg_stat_all_tables t ON t.relid = c.reltoastrelid
		WHERE s.schemaname = 'public' ORDER BY c.relname`

	// Statements of batch/store/postgres are identified by their beginning. The
	// number of commits is that of the statement that each group runs once.
	selectStatements = `SELECT coalesce(sum(calls) FILTER (WHERE query LIKE ANY ($1)), 0)::bigint, coalesce(sum(total_exec_time) FILTER (WHERE query LIKE ANY ($1)), 0),
			coalesce(sum(calls) FILTER (WHERE query LIKE $3), 0)::bigint, coalesce(sum(total_exec_time) FILTER (WHERE query LIKE ANY ($2)), 0)
		FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())`

	selectSyncs = `SELECT wal_sync, wal_sync_time FROM pg_stat_wal`
)

var (
	claimStatements  = []string{`UPDATE slices s SET attempt =%`}
	groupStatement   = `UPDATE batches b SET completed =%`
	commitStatements = []string{
		`SELECT b.seq FROM batches b WHERE b.id = ANY%`, `SELECT b.id, s.number, s.attempt%`, `INSERT INTO segments%`,
		`UPDATE slices s SET done =%`, groupStatement, `INSERT INTO usage_15m%`,
	}
)

func (w *watch) sample(ctx context.Context, at time.Duration, lines int64) error {
	p := churnPoint{At: at.Seconds(), Lines: lines}
	rows, err := w.conn.Query(ctx, selectTables)
	if err != nil {
		return fmt.Errorf("reading sizes of tables: %w", err)
	}
	if p.Tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[tableSample]); err != nil {
		return fmt.Errorf("reading sizes of tables: %w", err)
	}
	if err := w.conn.QueryRow(ctx, selectStatements, claimStatements, commitStatements, groupStatement).
		Scan(&p.Claim.Calls, &p.Claim.Millis, &p.Commit.Calls, &p.Commit.Millis); err != nil {
		return fmt.Errorf("reading times of statements: %w", err)
	}
	if err := w.conn.QueryRow(ctx, selectSyncs).Scan(&p.Syncs.Calls, &p.Syncs.Millis); err != nil {
		return fmt.Errorf("reading times of syncs: %w", err)
	}
	w.samples = append(w.samples, p)
	return nil
}

// raw is all samples as text, a row each under a row of names: some hundred rows
// of JSON objects would be unreadable.
func (w *watch) raw() map[string][]string {
	rows := map[string][]string{"statements": {"at lines claim_calls claim_ms commit_groups commit_ms wal_syncs wal_sync_ms"}}
	for _, p := range w.samples {
		rows["statements"] = append(rows["statements"], fmt.Sprintf("%.1f %d %d %.1f %d %.1f %d %.1f",
			p.At, p.Lines, p.Claim.Calls, p.Claim.Millis, p.Commit.Calls, p.Commit.Millis, p.Syncs.Calls, p.Syncs.Millis))
		for _, t := range p.Tables {
			if !slices.Contains(watchedTables, t.Name) {
				continue
			}
			if rows[t.Name] == nil {
				rows[t.Name] = []string{"at total_bytes index_bytes toast_bytes live dead toast_dead updated updated_in_place autovacuums"}
			}
			rows[t.Name] = append(rows[t.Name], fmt.Sprintf("%.1f %d %d %d %d %d %d %d %d %d",
				p.At, t.Total, t.Indexes, t.Toast, t.Live, t.Dead, t.ToastDead, t.Updated, t.UpdatedInPlace, t.Autovacuums))
		}
	}
	return rows
}

// span is a part of the run. Times are medians of the duration of a call between two
// samples: a stall of the machine only affects worst.
type span struct {
	MaxBytes     float64 `json:"max_work_bytes"` // of slices and segments with all that belongs to them
	MaxDead      int64   `json:"max_dead_rows"`  // of these, TOAST included
	ClaimMillis  float64 `json:"claim_ms"`       // of a statement that claims slices
	CommitMillis float64 `json:"commit_ms"`      // of a group's statements together
	SyncMillis   float64 `json:"wal_sync_ms"`
	WorstClaim   float64 `json:"claim_ms_worst_sample"`
	WorstCommit  float64 `json:"commit_ms_worst_sample"`
}

// between sums up the samples of a part of the run.
func (w *watch) between(from, to time.Duration) span {
	return spanOf(slices.DeleteFunc(slices.Clone(w.samples), func(p churnPoint) bool {
		return p.At < from.Seconds() || p.At > to.Seconds()
	}))
}

func spanOf(points []churnPoint) span {
	var (
		s                     span
		claims, groups, syncs []float64
	)
	for i, p := range points {
		var bytes, dead int64
		for _, t := range p.Tables {
			if t.Name == "slices" || t.Name == "segments" {
				bytes += t.Total
				dead += t.Dead + t.ToastDead
			}
		}
		s.MaxBytes, s.MaxDead = max(s.MaxBytes, float64(bytes)), max(s.MaxDead, dead)
		if i > 0 {
			claims = p.Claim.meanSince(points[i-1].Claim, claims)
			groups = p.Commit.meanSince(points[i-1].Commit, groups)
			syncs = p.Syncs.meanSince(points[i-1].Syncs, syncs)
		}
	}
	s.ClaimMillis, s.WorstClaim = medianAndWorst(claims)
	s.CommitMillis, s.WorstCommit = medianAndWorst(groups)
	s.SyncMillis, _ = medianAndWorst(syncs)
	return s
}

func medianAndWorst(values []float64) (middle, worst float64) {
	if len(values) == 0 {
		return 0, 0
	}
	return median(values), slices.Max(values)
}

// meanSince appends the mean duration of calls since before, if there were any.
func (s statementSample) meanSince(before statementSample, means []float64) []float64 {
	if s.Calls == before.Calls {
		return means
	}
	return append(means, (s.Millis-before.Millis)/float64(s.Calls-before.Calls))
}

package engine

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/batch"
	"github.com/tidegate/tidegate/internal/modellabel"
)

// The metrics of the remaining work of all gateways that share the store. Every gateway
// exports the same values, as of its last look, so they must not be summed over gateways.
var (
	descBatches   = prometheus.NewDesc("tidegate_batches", "Batches by status that are not deleted, on all gateways.", []string{"status"}, nil)
	descPaused    = prometheus.NewDesc("tidegate_batches_paused", "Batches in progress or validating that are paused, on all gateways.", nil, nil)
	descAtRisk    = prometheus.NewDesc("tidegate_batches_late", "Batches in progress that will miss their deadlines at their present speed, on all gateways, by reason.", []string{"reason"}, nil)
	descWaiting   = prometheus.NewDesc("tidegate_batch_lines_waiting", "Batch lines without a durable result that no gateway has in flight, of batches that are in progress or wait for a model and are not paused.", []string{"model"}, nil)
	descOldest    = prometheus.NewDesc("tidegate_batch_oldest_seconds", "Age of the oldest batch that is in progress or waits for a model and is not paused, on all gateways.", []string{"model"}, nil)
	descRemaining = prometheus.NewDesc("tidegate_batch_remaining_seconds", "Estimated time to finish the lines without a result, at the speed that was measured last; absent while no speed is known.", []string{"model"}, nil)
	descRatio     = prometheus.NewDesc("tidegate_batch_deadline_ratio", "Estimated time to finish the lines that are due by a deadline, divided by the time until this deadline; the largest of all deadlines. Above 1 the deadline is missed. Absent while no speed is known.", []string{"model"}, nil)
	descIdle      = prometheus.NewDesc("tidegate_batch_idle_seconds", "Time since a line of the model last got its result, on all gateways; absent for models without remaining lines, and before the first result.", []string{"model"}, nil)
	descSpace     = prometheus.NewDesc("tidegate_files_space_bytes", "Size of the file system that has the contents of files: total, free, and the part of free that is kept in reserve. Absent for object stores.", []string{"kind"}, nil)
	descHeldUp    = prometheus.NewDesc("tidegate_batch_held_up", "Number of reasons why batch work of this gateway is blocked, as in GET /health.", nil, nil)
	descChores    = prometheus.NewDesc("tidegate_batch_housekeeping_failing", "Housekeeping tasks of this gateway whose last round failed, as in GET /health. Batch work continues.", nil, nil)
	descExpired   = prometheus.NewDesc("tidegate_batches_expired_total", "Batches that this gateway ended as expired at their deadlines.", nil, nil)
)

var backlogDescs = []*prometheus.Desc{descBatches, descPaused, descAtRisk, descWaiting, descOldest, descRemaining, descRatio, descIdle, descSpace, descHeldUp, descChores, descExpired}

// allStatuses and riskReasons have series even when they are zero.
var (
	allStatuses = []batch.Status{batch.Validating, batch.InProgress, batch.Finalizing, batch.Cancelling, batch.Completed, batch.Failed, batch.Expired, batch.Cancelled}
	riskReasons = []RiskReason{RiskSlow, RiskWaiting, RiskStalled, RiskPaused, RiskClosed}
)

// collect sends the metrics of a new look, or of the last one.
func (b *backlog) collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descHeldUp, float64(len(b.reads.health.reasons())))
	gauge(descChores, float64(len(b.reads.health.housekeeping())))
	ch <- prometheus.MustNewConstMetric(descExpired, prometheus.CounterValue, float64(b.expired.Load()))
	v := b.look(context.Background()) // for backlogWait at most
	if v == nil {
		return
	}
	for _, status := range allStatuses {
		gauge(descBatches, float64(v.states[status]), string(status))
	}
	late := make(map[RiskReason]int64)
	for i := range v.atRisk {
		late[v.atRisk[i].Why]++
	}
	for _, why := range riskReasons {
		gauge(descAtRisk, float64(late[why]), string(why))
	}
	if v.hasSpace {
		gauge(descSpace, float64(v.space.Total), "total")
		gauge(descSpace, float64(v.space.Free), "free")
		gauge(descSpace, float64(v.space.Reserve), "reserve")
	}
	paused := int64(0)
	models := make(map[string]*labelled)
	for _, m := range v.demand(func(*batch.Batch) bool { return true }).Models {
		if m.idle() {
			continue
		}
		paused += m.PausedBatches
		label := b.labelOf(&m)
		if models[label] == nil {
			models[label] = new(labelled)
		}
		models[label].add(&m, v.ended[m.Model])
	}
	gauge(descPaused, float64(paused))
	for label, m := range models {
		gauge(descWaiting, float64(m.waiting), label)
		if !m.oldest.IsZero() {
			gauge(descOldest, max(v.now.Sub(m.oldest).Seconds(), 0), label)
		}
		if !m.ended.IsZero() {
			gauge(descIdle, max(v.now.Sub(m.ended).Seconds(), 0), label)
		}
		if label == modellabel.Other {
			continue // models that have nothing to do with each other
		}
		if m.remaining != nil {
			gauge(descRemaining, m.remaining.Seconds(), label)
		}
		if m.ratio != nil {
			gauge(descRatio, *m.ratio, label)
		}
	}
}

// labelOf returns the label of a model. A name that only batches that wait for their first
// server use was chosen by a client, and gets no label of its own.
func (b *backlog) labelOf(m *ModelDemand) string {
	labels := b.reads.scheduler.Metrics().ModelLabels()
	if m.Validating == m.Batches {
		if known, _ := b.reads.dispatcher.Serves(m.Model); !known {
			return labels.Peek(m.Model)
		}
	}
	return labels.Of(m.Model)
}

// labelled sums the models of one label.
type labelled struct {
	waiting   int64
	oldest    time.Time
	ended     time.Time // when the last line got its result; zero: not known
	remaining *time.Duration
	ratio     *float64
}

func (l *labelled) add(m *ModelDemand, ended time.Time) {
	l.ended = later(l.ended, ended)
	l.waiting += m.Lines - m.InFlight
	if l.oldest.IsZero() || !m.Oldest.IsZero() && m.Oldest.Before(l.oldest) {
		l.oldest = m.Oldest
	}
	l.remaining, l.ratio = m.Remaining, m.DeadlineRatio
}
